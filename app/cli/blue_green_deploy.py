"""Run two versions of your application, blue and green, and move the traffic between them without loss.

Usage:
  blue_green_deploy status [--json]
  blue_green_deploy start VERSION [--dir=DIR] [--release=NAME] [--command=COMMAND]
  blue_green_deploy run VERSION
  blue_green_deploy stop VERSION [--force]
  blue_green_deploy restart VERSION
  blue_green_deploy health-check [VERSION] [--json]
  blue_green_deploy switch VERSION [--force] [--wait]
  blue_green_deploy rollback
  blue_green_deploy deploy [--dir=DIR] [--release=NAME] [--command=COMMAND] [--stop-old]
  blue_green_deploy logs VERSION [--follow] [--lines=N]
  blue_green_deploy history [--json] [--limit=N]
  blue_green_deploy --help | --version

Commands:
  status        Both versions, their health and the router, at a glance.
  start         Start a version and wait until it is healthy; the first one becomes active.
  run           The same in the foreground, for systemd, a Procfile or a container.
  stop          Stop a version after the requests that it still has.
  restart       Stop a version and start it again as it was.
  health-check  Ask a version, or every one that runs, for its health.
  switch        Send traffic to a version, if it is healthy. The other one keeps running.
  rollback      Send traffic back to the version before; it is started first if it does not run.
  deploy        Start a release as the standby, wait until it is healthy, switch to it, and wait for
                the old version's requests. The old version keeps running for a rollback.
  logs          The end of a version's output.
  history       Who changed what, when, and what came of it.

Options:
  --dir=DIR          Directory to run in, instead of the configured one.
  --release=NAME     What this release is called; the application gets it as $BG_RELEASE.
  --command=COMMAND  Command to run, instead of the configured one; {port}, {version} and {release}
                     are filled in, and no shell is involved.
  --force            Switch to a version that is not healthy; stop the active one, or a busy one.
  --wait             Return only when the old version has no requests left.
  --stop-old         Then stop the old version.
  --follow           Go on printing what is added, until Ctrl-C.
  --lines=N          How many lines to begin with [default: 50].
  --limit=N          How many commands to show, the latest ones [default: 20].
  --json             Print data for programs.
  -h --help          Show this text.
  --version          Show the version.

Examples:
  blue_green_deploy start blue                     the configured application, or the bundled demo
  blue_green_deploy start green --release=r2       the next one beside it, still without traffic
  blue_green_deploy switch green                   now it has the traffic
  blue_green_deploy rollback                       now blue has it again
  blue_green_deploy deploy --release=r3 --dir=/srv/shop/r3
                                                   all of it in one command
  blue_green_deploy start blue --command='uvicorn shop:app --port {port}'
  blue_green_deploy health-check green && echo ready

What to run and how to check it is set in traffic_router.toml, table [app]. What start is told by
options is remembered for restart, rollback and the next start. Relative paths begin at the project's
root, or at $TRAFFIC_ROUTER_HOME.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not healthy and traffic stays where
it was, 4 done, but requests were still in flight when the time was up.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

from app.cli.deploy_events import EventPrinter
from app.cli.deploy_traffic import open_traffic
from app.cli.deploy_views import Overview, health_json, health_lines, history_lines, status_json, status_text
from app.cli.entry import Arguments, enter_home, read_arguments, run
from app.cli.router_process import find_router
from app.config import Loaded
from app.deploy.deployer import Deployer, Overrides
from app.deploy.foreground import ForegroundProcesses
from app.deploy.gate import Gate
from app.deploy.history import History
from app.deploy.log_file import follow, tail
from app.deploy.processes import Processes
from app.deploy.steps import PROGRAM, Steps, port_is_open
from app.errors import OperatorError, UnhealthyVersion, UsageError
from app.settings_file import load_settings
from app.state.model import BlueGreenState, check_version
from app.state.store import StateStore
from app.upstream.health import ProbeResult, probe

__all__ = ["main"]


class _Call:
    """One command as it was typed, with the settings in effect and everything that acts on them."""

    def __init__(self, arguments: Arguments, loaded: Loaded, command: str, printer: EventPrinter) -> None:
        self._arguments = arguments
        self.config, self.app = loaded.config, loaded.app
        self.store = StateStore(self.config.state_file)
        foreground = ForegroundProcesses(self.store.folder)
        self.foreground = foreground
        self.processes: Processes = foreground if arguments["run"] else Processes(self.store.folder)
        self.history = History(self.store.folder / "history.jsonl")
        self.traffic = open_traffic(self.config)
        self.steps = Steps(
            store=self.store,
            processes=self.processes,
            app=self.app,
            gate=Gate(self.app, printer),
            traffic=self.traffic,
            report=printer,
            drain_timeout_s=self.config.drain_timeout,
        )
        self.deployer = Deployer(self.steps, self.history, command)

    def flag(self, name: str) -> bool:
        return bool(self._arguments[name])

    def text(self, name: str) -> str | None:
        value = self._arguments[name]
        return value if isinstance(value, str) else None

    def version(self) -> str:
        """The version that was named; raises `UsageError` when it is none."""
        return check_version(self.text("VERSION") or "")

    def overrides(self) -> Overrides:
        return Overrides(self.text("--release"), self.text("--dir"), self.text("--command"))

    def count(self, name: str) -> int:
        """An option's whole number; raises `UsageError` for what is none."""
        text = self.text(name) or ""
        if not text.isdecimal():
            raise UsageError(f"{name}={text}: expected a whole number from 0 up")
        return int(text)

    def observed(self) -> BlueGreenState:
        """The state as it really is now; nothing is written."""
        return self.steps.observed(self.store.read_or_new())

    def probes(self, state: BlueGreenState) -> dict[str, ProbeResult]:
        """A health check of the active version and of every one that listens."""
        return {
            version.name: probe(version.port, self.app)
            for version in state.versions.values()
            if version == state.active or port_is_open(version.port)
        }


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code, raises `OperatorError` for what went wrong."""
    arguments = read_arguments(__doc__ or "", argv, "blue_green_deploy")
    enter_home()
    # A terminal that goes away, or `kill`, is to leave things as tidy as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    printer = EventPrinter()
    call = _Call(arguments, load_settings(), shlex.join(argv), printer)
    try:
        return next(command for word, command in _COMMANDS.items() if arguments[word])(call)
    except KeyboardInterrupt:
        printer.clear()
        print("⚠️  Interrupted", file=sys.stderr)
        raise
    finally:
        printer.clear()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _status(call: _Call) -> int:
    state = call.observed()
    overview = Overview(
        state=state,
        health=call.probes(state),
        traffic=call.traffic,
        router=find_router(call.config),
        state_file=call.store.path,
        logs={name: call.processes.log_path(name) for name in state.versions},
    )
    print(json.dumps(status_json(overview), indent=2) if call.flag("--json") else status_text(overview))
    return 0


def _start(call: _Call) -> int:
    name = call.version()
    call.deployer.start(name, call.overrides())
    state = call.store.read()
    if state.active_version != name:
        print(f"   It has no traffic yet. Next: {PROGRAM} switch {name}")
    elif call.traffic is None:
        print("   Next: python3 bin/traffic_router start")
    return 0


def _run(call: _Call) -> int:
    return call.deployer.run(call.version(), call.foreground)


def _stop(call: _Call) -> int:
    call.deployer.stop(call.version(), force=call.flag("--force"))
    return 0


def _restart(call: _Call) -> int:
    call.deployer.restart(call.version())
    return 0


def _health_check(call: _Call) -> int:
    state = call.observed()
    named = call.text("VERSION")
    if named is None:
        results = call.probes(state)
    else:
        results = {named: probe(state.version(named).port, call.app)}
    if call.flag("--json"):
        print(json.dumps({name: health_json(result) for name, result in results.items()}, indent=2))
    else:
        for name, result in results.items():
            print(*health_lines(state.version(name), result), sep="\n")
    if not results:
        raise UnhealthyVersion("no version is running", f"{PROGRAM} start blue")
    return 0 if all(result.ok for result in results.values()) else UnhealthyVersion.exit_code


def _switch(call: _Call) -> int:
    call.deployer.switch(call.version(), force=call.flag("--force"), wait=call.flag("--wait"))
    _print_way_back(call)
    return 0


def _rollback(call: _Call) -> int:
    call.deployer.rollback()
    _print_way_back(call)
    return 0


def _deploy(call: _Call) -> int:
    call.deployer.deploy(call.overrides(), stop_old=call.flag("--stop-old"))
    _print_way_back(call)
    return 0


def _print_way_back(call: _Call) -> None:
    state = call.store.read()
    if state.previous_version and state.previous_version != state.active_version:
        previous = state.version(state.previous_version)
        runs = (
            "keeps running" if call.steps.is_alive(previous) or port_is_open(previous.port) else "is stopped"
        )
        print(f"   {previous.name} {runs}. Back to it: {PROGRAM} rollback")


def _logs(call: _Call) -> int:
    name, lines = call.version(), call.count("--lines")
    path = call.processes.log_path(name)
    if not path.exists() and not call.flag("--follow"):
        raise OperatorError(f"{name} has no log yet: {path}", f"{PROGRAM} start {name}")
    added = follow(path)
    next(added)  # remembers where the file ends before its end is printed, so that nothing is left out
    for line in tail(path, lines):
        print(line)
    if call.flag("--follow"):
        try:
            for text in added:
                print(text, end="", flush=True)
        except KeyboardInterrupt:
            pass  # the way to end it
    return 0


def _history(call: _Call) -> int:
    entries = call.history.entries()
    limit = call.count("--limit")
    entries = entries[len(entries) - min(limit, len(entries)) :]
    if call.flag("--json"):
        print(json.dumps([call.history.as_json(entry) for entry in entries], indent=2))
    elif entries:
        print(*history_lines(entries), sep="\n")
    else:
        print("Nothing has been changed yet.")
    return 0


_COMMANDS: Final[dict[str, Callable[[_Call], int]]] = {
    "status": _status,
    "start": _start,
    "run": _run,
    "stop": _stop,
    "restart": _restart,
    "health-check": _health_check,
    "switch": _switch,
    "rollback": _rollback,
    "deploy": _deploy,
    "logs": _logs,
    "history": _history,
}


if __name__ == "__main__":
    sys.exit(run(main))
