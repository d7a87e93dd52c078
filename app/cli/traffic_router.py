"""Run and watch the traffic router: one port in front of the blue and the green version of your application.

Usage:
  traffic_router init [--dir=DIR] [--procfile] [--systemd] [--dry-run] [--json]
  traffic_router start [--port=PORT] [--bind=ADDRESS] [--workers=N] [--state-file=FILE] [--daemon]
  traffic_router stop [--state-file=FILE]
  traffic_router reload [--state-file=FILE]
  traffic_router upgrade [--state-file=FILE]
  traffic_router status [--json] [--port=PORT] [--state-file=FILE]
  traffic_router metrics [--watch=SECONDS] [--window=N] [--json] [--port=PORT] [--state-file=FILE]
  traffic_router record [--path=PATHS] [--for=SECONDS] [--max-body=SIZE] [--max-size=SIZE] [--output=FILE]
                 [--state-file=FILE]
  traffic_router test [--json] [--port=PORT] [--state-file=FILE]
  traffic_router config [--json | --check=FILE] [--port=PORT] [--bind=ADDRESS] [--workers=N] [--state-file=FILE]
  traffic_router completion (bash|zsh|fish)
  traffic_router --help | --version

Commands:
  init     Write traffic_router.toml for the application that is found; nothing is overwritten.
  start       Serve in the foreground until Ctrl-C or SIGTERM.
  stop        Let the running router finish its requests and end.
  reload      Take up new settings and code with new workers; no request is lost.
  upgrade     Start anew with another Python or other packages; no request is lost.
  status      Is the router well, and the version behind it?
  metrics     Requests, failures, bytes and times, over all workers.
  record      Write whole requests and answers into a file for a while, secrets masked.
  test        Send a few requests through the router and judge the answers.
  config      Every setting in effect, and where it came from.
  completion  A script with which the shell completes commands and options.

Options:
  --port=PORT        Port for incoming traffic (5004).
  --bind=ADDRESS     Address to listen on (0.0.0.0).
  --workers=N        Worker processes; 0 is one per core (0).
  --state-file=FILE  Blue-green state file (.local_context/bg_state.json).
  --daemon           Start in the background: wait until it answers, print its pid.
  --watch=SECONDS    Look again every so many seconds; plain --watch is every 2.
  --window=N         Only the last N seconds.
  --path=PATHS       Which requests (/*); a `*` at the end makes a prefix, commas are between several.
  --for=SECONDS      How long to record (60); an hour at most.
  --max-body=SIZE    How much of each body to keep (4K).
  --max-size=SIZE    Stop when the file is so large (64M).
  --output=FILE      The file, which must not exist (recording-TIME.jsonl beside the state file).
  --dir=DIR          Where the application is (where the settings are).
  --procfile         Write a Procfile as well.
  --systemd          Write units as well, below systemd/.
  --dry-run          Show it only.
  --check=FILE       Whether FILE could be traffic_router.toml, and what a reload would change then.
  --json             Print data for programs.
  -h --help          Show this text.
  --version          Show the version, and whether it runs compiled.

Examples:
  traffic_router init --dry-run              what it would make of the application that lies here
  traffic_router start                       the router on port 5004, in this terminal
  traffic_router start --port=8080 --daemon  another port, in the background
  traffic_router status && echo all is well  exit code 0 only when traffic can flow
  traffic_router metrics --watch             see a deploy happen
  traffic_router metrics --window=60 --json  the last minute, for a script
  traffic_router record --path='/api/*' --for=30
                                             what clients and the application say to each other there
  source <(bin/traffic_router completion bash)
                                             let Tab complete commands and options in this shell

Options win over the environment (TRAFFIC_ROUTER_MAIN_PORT=8080, PORT=8080), which wins over
traffic_router.toml. Relative paths begin at $TRAFFIC_ROUTER_HOME, else at the project's root, or, if
this was installed as a package, where you are.
Exit codes: 0 done, 1 failed or unhealthy, 2 wrong usage or configuration, 6 (status) traffic is held
back by a pause or by maintenance.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from app import __version__
from app.cli import lifecycle
from app.cli.config_check import check_file
from app.cli.config_view import config_json, config_text
from app.cli.entry import Arguments, enter_home, read_arguments, run
from app.cli.health_view import read_health, situation_in, status_text
from app.cli.metrics_view import metrics_lines, read_metrics, watch
from app.cli.output import outlive_reader
from app.cli.recording import record
from app.cli.router_client import RouterClient
from app.cli.router_process import find_router
from app.cli.self_test import print_tests, redirect_loop, run_tests
from app.cli.terminal import width
from app.command_line import ROUTER_PROGRAM
from app.compiled import describe
from app.operator_errors import UsageError
from app.settings.checks import is_path
from app.settings.kinds import Setting, read
from app.settings.loading import Loaded
from app.settings.toml_file import load_settings

__all__ = ["main"]

_FIELDS = {"--port": "main_port", "--bind": "bind", "--workers": "workers", "--state-file": "state_file"}
"""Options that are settings."""

_DEFAULT_WATCH = "--watch=2"


@dataclass(frozen=True, slots=True)
class _Call:
    """One command as it was typed, with the settings in effect; `cli` are the settings among its options."""

    arguments: Arguments
    loaded: Loaded
    cli: dict[str, str]

    def flag(self, name: str) -> bool:
        return bool(self.arguments[name])

    def number(self, name: str, least: float, most: float) -> float | None:
        """An option's number; None when it was not given; raises `UsageError` for what is none."""
        text = self.arguments[name]
        if text is None:
            return None
        try:
            number = float(text)
            if least <= number <= most:
                return number
        except ValueError:
            pass
        raise UsageError(f"{name}={text}: expected a number from {least:g} to {most:g}", f"{ROUTER_PROGRAM} --help")

    def size(self, name: str, default: str, most: int) -> int:
        """An option's number of bytes, with K, M or G behind it; raises `UsageError` for what is none."""
        text = str(self.arguments[name] or default)
        try:
            return int(str(read(Setting("", "bytes", 0, most, default=0), text)))
        except ValueError:
            raise UsageError(f"{name}={text}: expected a size such as 4K", f"{ROUTER_PROGRAM} --help") from None

    def client(self) -> RouterClient:
        """The router to ask: on the port that was typed, else where the running one says it is."""
        router = None if "main_port" in self.cli else find_router(self.loaded.config)
        return RouterClient(self.loaded.config, router.port if router else None)


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code, raises `OperatorError` for what went wrong."""
    # docopt has no options whose value may be left out
    argv = [_DEFAULT_WATCH if argument == "--watch" else argument for argument in argv]
    version = f"{__version__}, {describe(os.environ)}" if "--version" in argv else ""
    arguments = read_arguments(__doc__ or "", argv, "traffic_router", version)
    if arguments["completion"]:  # which asks nobody, so that settings that are wrong do not matter
        from app.cli.completion import completion_script

        print(completion_script(__doc__ or "", "traffic_router", arguments), end="")
        return 0
    enter_home()
    if arguments["init"]:  # there are no settings yet, or they are no good
        from app.cli.init import init

        return init(arguments)
    cli = {name: str(arguments[option]) for option, name in _FIELDS.items() if arguments[option] is not None}
    if arguments["--check"]:  # whatever is wrong with the file that is used now
        return check_file(str(arguments["--check"]), cli)
    call = _Call(arguments, load_settings(cli), cli)
    word, command = next((word, command) for word, command in _COMMANDS.items() if arguments[word])
    if word in _ACTING:
        outlive_reader()
    return command(call)


def _start(call: _Call) -> int:
    start = lifecycle.start_in_background if call.flag("--daemon") else lifecycle.start
    return start(call.loaded, call.cli)


def _stop(call: _Call) -> int:
    return lifecycle.stop(call.loaded.config)


def _reload(call: _Call) -> int:
    return lifecycle.reload(call.loaded.config)


def _upgrade(call: _Call) -> int:
    return lifecycle.upgrade(call.loaded.config)


def _status(call: _Call) -> int:
    client = call.client()
    health = read_health(client)
    print(json.dumps(health, indent=2) if call.flag("--json") else status_text(health))
    if 300 <= ((health.get("backend") or {}).get("status") or 0) < 400 and not call.flag("--json"):
        if loop := redirect_loop(call.loaded.app, client):
            print(f"⚠️  {call.loaded.app.health_path}: {loop}")
    return situation_in(health).kind.exit_code


def _metrics(call: _Call) -> int:
    every_s = call.number("--watch", 0.1, 3600)
    window = call.number("--window", 1, 21_600)
    window_s = None if window is None else int(window)
    if every_s is not None:
        try:
            watch(call.client(), every_s, window_s, call.flag("--json"))
        except KeyboardInterrupt:
            return 0  # the way to end a watch
    metrics = read_metrics(call.client(), window_s)
    print(
        json.dumps(metrics, indent=2)
        if call.flag("--json")
        else "\n".join(metrics_lines(metrics, name=call.loaded.config.name))
    )
    return 0


def _record(call: _Call) -> int:
    text = str(call.arguments["--path"] or "/*")
    paths = text.split(",")
    if not all(map(is_path, paths)):
        raise UsageError(f"--path={text}: expected paths that begin with /", "--path='/api/*'")
    seconds = call.number("--for", 1, 3600)
    return record(
        call.loaded.config,
        paths,
        60.0 if seconds is None else seconds,
        call.size("--max-body", "4K", 1 << 20),
        call.size("--max-size", "64M", 1 << 40),
        str(call.arguments["--output"] or ""),
    )


def _test(call: _Call) -> int:
    running = run_tests(call.loaded, call.client())
    if call.flag("--json"):
        outcomes = list(running)
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        outcomes = print_tests(running, call.loaded.config.name)
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def _config(call: _Call) -> int:
    form = describe(os.environ)
    if call.flag("--json"):
        print(json.dumps(config_json(call.loaded) | {"build": {"value": form, "source": "installation"}}, indent=2))
    else:
        print(f"{config_text(call.loaded, width())}\n\n   A router that is started now is {form}.")
    return 0


_COMMANDS: dict[str, Callable[[_Call], int]] = {
    "start": _start,
    "stop": _stop,
    "reload": _reload,
    "upgrade": _upgrade,
    "status": _status,
    "metrics": _metrics,
    "record": _record,
    "test": _test,
    "config": _config,
}

_ACTING = ("start", "stop", "reload", "upgrade")
"""They do what they were asked for though nobody should read what they print."""


if __name__ == "__main__":
    sys.exit(run(main))
