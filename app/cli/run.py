"""`make run`: a version and the router in front of it in one terminal; Ctrl-C ends what was started here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

from app.cli.entry import enter_home, run
from app.cli.lifecycle import banner, router_environment
from app.cli.router_client import RouterClient
from app.cli.router_process import check_port_is_free, gunicorn_command, wait_until
from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.deploy.processes.process_table import Processes
from app.installation import ROOT
from app.settings.tables.router_settings import RouterConfig
from app.settings.toml_file import load_settings
from app.state.model import VERSIONS, VersionState
from app.state.store import StateStore

__all__ = ["main"]

_READY_TIMEOUT_S = 30.0

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stage:
    """Runs one child at a time and hands on to it what ends us.

    Children are in process groups of their own, for a terminal sends Ctrl-C to the whole foreground group,
    and gunicorn takes SIGINT for "at once" where we mean "gracefully".
    """

    def __init__(self) -> None:
        self.is_ending = False
        self._child: subprocess.Popen[bytes] | None = None
        self._polite = signal.SIGINT
        for number in _ENDING:
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        number = signal.SIGKILL if self.is_ending else self._polite
        self.is_ending = True
        if self._child is not None:
            with suppress(ProcessLookupError):
                # The first signal is for the master, which tells its workers; SIGKILL it could not hand on.
                (os.killpg if number == signal.SIGKILL else os.kill)(self._child.pid, number)

    def open(
        self, command: list[str], polite: signal.Signals, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a child; `polite` is what it gets when we are told to end, and SIGKILL the second time."""
        self._polite = polite
        self._child = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, process_group=0)
        return self._child

    def close(self) -> int:
        """Wait until the child has ended; gives its exit code, for a signal as a shell would."""
        assert self._child is not None  # `open` came first
        code = self._child.wait()
        self._child = None
        return code if code >= 0 else 128 - code

    def deploy(self, *arguments: str) -> int:
        """Run one `blue_green_deploy` command to its end; gives its exit code."""
        self.open([sys.executable, str(ROOT / "bin" / "blue_green_deploy"), *arguments], signal.SIGINT)
        return self.close()

    def clear_up(self, *arguments: str) -> int:
        """Run a last `blue_green_deploy` command, which no impatient Ctrl-C can break off halfway."""
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        return self.deploy(*arguments)


def main(argv: Sequence[str]) -> int:
    """Start the active version (blue, the first time) unless it runs, then serve until told to end.

    With `--all` whatever version runs in the end is stopped, for a container's end would kill it.
    Returns the exit code of what failed, or 0; raises `OperatorError` when the port is taken.
    """
    enter_home()
    config = load_settings().config
    check_port_is_free(config)
    stage = _Stage()
    name = StateStore(config.state_file).read_or_new().active_version or VERSIONS[0]
    is_ours = not _is_running(config, name)
    code = stage.deploy("start", name) if is_ours else 0
    if code == 0 and not stage.is_ending:
        started = _version(config, name)
        code = _serve(config, stage, name if is_ours else "")
        if is_ours and _version(config, name).pid == started.pid:
            stage.clear_up("stop", name, "--force")
        for other in filter(lambda other: _is_running(config, other), VERSIONS if "--all" in argv else ()):
            stage.clear_up("stop", other, "--force")
        _tell_what_still_runs(config)
    return code


def _serve(config: RouterConfig, stage: _Stage, ours: str) -> int:
    """Run the router in the foreground; gives its exit code."""
    print(banner(config), flush=True)
    router = stage.open(gunicorn_command(), signal.SIGTERM, router_environment({}))
    if stage.is_ending:  # the signal came between the last look and the start
        router.terminate()
    # In a thread, for the main one waits for the router and its signals.
    threading.Thread(target=_tell_when_ready, args=(config, router, ours), daemon=True).start()
    return stage.close()


def _tell_when_ready(config: RouterConfig, router: subprocess.Popen[bytes], ours: str) -> None:
    client = RouterClient(config, timeout_s=1)
    if wait_until(lambda _: router.returncode is not None or client.answers(), _READY_TIMEOUT_S):
        if router.returncode is None:
            print(_next_steps(config, ours), flush=True)


def _next_steps(config: RouterConfig, ours: str) -> str:
    url = f"http://127.0.0.1:{config.main_port}"
    ends = f"the router and {ours}" if ours else "the router"
    steps = {
        f"curl {url}/health": "the active version answers",
        f"{PROGRAM} deploy": "start the other version and switch to it; no request is lost",
        f"{PROGRAM} rollback": "and back again",
        f"{ROUTER_PROGRAM} metrics --watch": "the figures, live",
    }
    if config.dashboard_path:
        page = f"http://{config.admin_bind}" if config.admin_bind else url
        steps[f"{page}{config.dashboard_path}"] = "the dashboard, in a browser"
    width = max(map(len, steps))
    lines = [f"   {command:<{width}}  {meaning}" for command, meaning in steps.items()]
    return "\n".join(["", "✅ Ready. Try, in a second terminal:", *lines, f"   Ctrl-C here ends {ends}.", ""])


def _version(config: RouterConfig, name: str) -> VersionState:
    return StateStore(config.state_file).read_or_new().version(name)


def _is_running(config: RouterConfig, name: str) -> bool:
    return Processes(StateStore(config.state_file).folder).find(_version(config, name)).alive


def _tell_what_still_runs(config: RouterConfig) -> None:
    active = StateStore(config.state_file).read_or_new().active_version
    for name in VERSIONS:
        if _is_running(config, name):
            force = " --force" if name == active else ""
            print(f"   {name} still runs; end it with: {PROGRAM} stop {name}{force}", flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
