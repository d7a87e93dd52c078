"""`start`, `stop`, `reload` and `upgrade`: the commands that change whether and how the router runs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psutil

from app.cli.router_client import HEALTH_PATH, METRICS_PATH, RouterClient
from app.cli.router_process import (
    RunningRouter,
    check_port_is_free,
    child_pids,
    find_router,
    gunicorn_command,
    start_detached,
    wait_until,
)
from app.cli.start_checks import check_start
from app.cli.terminal import Progress, clock_text
from app.command_line import ROUTER_PROGRAM
from app.deploy.processes.log_file import size, tail
from app.deploy.processes.sessions import port_holder
from app.installation import ROOT
from app.operator_errors import ProcessError, StateError
from app.server.next_start import Start, write_start
from app.settings.loading import ENV_PREFIX, Loaded
from app.settings.tables.router_settings import RouterConfig
from app.state.store import StateStore, mending
from app.withheld import in_background, without_withheld

__all__ = ["banner", "reload", "router_environment", "start", "start_in_background", "stop", "upgrade"]

_START_TIMEOUT_S = 30.0
_BOOT_S = 30.0
"""What new workers may take to serve; a new master gives up after as long."""


def _check() -> str:
    return f"{ROUTER_PROGRAM} config   # whether the settings can be used"


_TAIL_LINES = 20
_MARGIN_S = 5.0
"""What stopping may take beyond `graceful_timeout`: gunicorn looks at its workers once a second."""


def banner(config: RouterConfig) -> str:
    """What `start` prints before it serves."""
    port = config.main_port
    own = config.admin_bind or f"127.0.0.1:{port}"
    return "\n".join(
        [
            f"🌐 Traffic router starting on port {port}",
            "   Proxying to active blue-green version",
            f"   Health: http://127.0.0.1:{port}{HEALTH_PATH}",
            f"   Metrics: http://{own}{METRICS_PATH}",
            *([f"   Page: http://{own}{config.dashboard_path}"] if config.dashboard_path else []),
        ]
    )


def router_environment(cli: Mapping[str, str]) -> dict[str, str]:
    """The router's environment: ours, what the command line said as variables, and where `app` is found.

    The last because the working directory may be another one; the router starts no process that it could
    mislead.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        **{ENV_PREFIX + name.upper(): value for name, value in cli.items()},
    }


def start(loaded: Loaded, cli: Mapping[str, str]) -> int:
    """Become the router: check that it can listen, print the banner, and turn this process into gunicorn.

    The process stays the same, so signals and service managers see one tree. Comes back only by an error.
    """
    check_start(loaded)
    print(banner(loaded.config), flush=True)
    command = gunicorn_command()
    os.execve(command[0], command, router_environment(cli))


def start_in_background(loaded: Loaded, cli: Mapping[str, str]) -> int:
    """Start the router detached, wait for its answer, print its pid; raises `ProcessError` if none comes."""
    config = loaded.config
    check_start(loaded)
    print(banner(config), flush=True)
    log = _log(config)
    begin = size(log)
    process = start_detached(gunicorn_command(), in_background(without_withheld(router_environment(cli))), log)
    client = RouterClient(config, timeout_s=1)

    def serves() -> bool:
        """Whether it is this router that answers, and not one that was started at the same time."""
        return client.worker() in child_pids(process.pid)

    wait_until(lambda _: process.poll() is not None or serves(), _START_TIMEOUT_S)
    if process.poll() is None and serves():
        print(f"✅ Router running in the background (pid {process.pid})\n   Log: {log}")
        return 0
    ended = process.poll()
    if ended is None:
        process.terminate()
        process.wait()
    check_port_is_free(config)
    what = f"ended with status {ended}" if ended is not None else f"did not answer in {_START_TIMEOUT_S:.0f} s"
    raise ProcessError(f"The router {what}{_end_of(log, begin)}", _check())


def stop(config: RouterConfig) -> int:
    """Tell the router to finish its requests and end, and wait; raises `ProcessError` if it does not."""
    router = _running(config)
    progress, limit_s = Progress(), config.graceful_timeout + _MARGIN_S
    router.signal(signal.SIGTERM)

    def has_ended(elapsed_s: float) -> bool:
        if not router.is_alive():
            return True
        progress.say(f"Router (pid {router.pid}) finishes its requests", f", {elapsed_s:.0f} of {limit_s:.0f} s")
        return False

    ended = wait_until(has_ended, limit_s)
    progress.clear()
    if not ended:
        raise ProcessError(f"Router (pid {router.pid}) still runs after {limit_s:.0f} s", f"kill -9 {router.pid}")
    print(f"✅ Router stopped (pid {router.pid})")
    return 0


def reload(config: RouterConfig) -> int:
    """Have the router start new workers with the settings and code of now, and let the old ones finish.

    Raises `ProcessError` when it refuses or ends instead, or when the new workers do not serve in time.
    """
    router = _running(config)
    progress, limit_s = Progress(), config.graceful_timeout + _BOOT_S + _MARGIN_S
    client, old = RouterClient(config, router.port, timeout_s=1), router.workers()
    log = _log(config)
    begin = size(log)
    if (runs := router.checkout()) not in (None, ROOT):
        print(f"⚠️  The router runs {runs}, and this is {ROOT}: {ROUTER_PROGRAM} upgrade moves it here")
    elif left := router.left_in():
        print(f"⚠️  The router runs in {left}, and this is {os.getcwd()}: {ROUTER_PROGRAM} upgrade moves it here")
    router.signal(signal.SIGHUP)

    def is_renewed(_elapsed_s: float) -> bool:
        if not router.is_alive() or _refusal(config, router):
            return True
        now = router.workers()
        if left := now & old:
            progress.say("Old workers finish their requests", f", {len(left)} left")
            return _pause_end(config) > 0 and client.worker() in now - old
        return bool(now) and client.answers()

    renewed = wait_until(is_renewed, limit_s)
    progress.clear()
    if not router.is_alive():
        raise _ended(config, router, _end_of(log, begin))
    if fault := _refusal(config, router):
        raise ProcessError(f"The router refused to reload and goes on as it is:\n{_indented(fault)}", _check())
    if not renewed:
        raise ProcessError(f"The new workers do not serve yet after {limit_s:.0f} s", f"{ROUTER_PROGRAM} status")
    workers = router.workers()
    count = len(workers - old)
    print(f"✅ Router reloaded: {count} new worker{'s'[: count > 1]} on port {router.port} (pid {router.pid})")
    if workers & old:
        _tell_of_pause(config)
    return 0


def _ended(config: RouterConfig, router: RunningRouter, log_end: str) -> ProcessError:
    if new := _successor(config, router):
        return ProcessError(
            f"An upgrade has put another router (pid {new.pid}) in its place", f"{ROUTER_PROGRAM} reload"
        )
    return ProcessError(f"The router ended instead of reloading{log_end}", f"{ROUTER_PROGRAM} start")


def upgrade(config: RouterConfig) -> int:
    """Have the router start itself anew beside the old one, which ends when the new one serves.

    Raises `ProcessError` when the new one does not come to serve; the old one goes on then.
    """
    old = _running(config)
    progress, limit_s = Progress(), 2 * _BOOT_S + _MARGIN_S
    log = _log(config)
    begin = size(log)
    ran, left = old.checkout(), old.left_in()
    with _started_from_here(config) if left or ran not in (None, ROOT) else nullcontext():
        old.signal(signal.SIGUSR2)
        progress.say("The new router starts", "")
        wait_until(lambda _: _successor(config, old) is not None or _refusal(config, old) != "", limit_s)
    new = _successor(config, old)
    if new is None:
        progress.clear()
        why = _refusal(config, old) or f"no new router serves after {limit_s:.0f} s"
        goes_on = "goes on" if old.is_alive() else "has ended"
        raise ProcessError(f"{why}; the old one (pid {old.pid}) {goes_on}{_end_of(log, begin)}", _check())

    def has_ended(elapsed_s: float) -> bool:
        progress.say("The old router finishes its requests", f", {elapsed_s:.0f} of {config.graceful_timeout:.0f} s")
        return not old.is_alive() or _pause_end(config) > 0

    ended = wait_until(has_ended, config.graceful_timeout + _MARGIN_S)
    progress.clear()
    if not ended:
        raise ProcessError(
            f"The new router (pid {new.pid}) serves, but the old one (pid {old.pid}) does not end", f"kill -9 {old.pid}"
        )
    runs = new.checkout()
    if runs not in (None, ROOT):
        raise ProcessError(
            f"The router was started anew, but still runs {runs}; this is {ROOT}",
            f"{ROUTER_PROGRAM} stop && {ROUTER_PROGRAM} start --daemon",
        )
    count = len(new.workers())
    print(f"✅ Router upgraded: {count} new worker{'s'[: count > 1]} on port {new.port} (pid {new.pid}, was {old.pid})")
    if runs != ran:
        print(f"   It runs {runs} now, and ran {ran}")
    elif left:
        print(f"   It runs in {os.getcwd()} now, and ran in {left}")
    if old.is_alive():
        _tell_of_pause(config)
    return 0


@contextmanager
def _started_from_here(config: RouterConfig) -> Iterator[None]:
    """Within the block the running router starts the program that this command belongs to, not its own once more."""
    pid_path = Path(config.pid_path)
    try:
        path = write_start(pid_path, Start(gunicorn_command(), os.getcwd(), router_environment({})["PYTHONPATH"]))
    except OSError as error:
        raise ProcessError(
            f"{pid_path.parent} cannot be written: {error.strerror}", mending(error, pid_path)
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _pause_end(config: RouterConfig) -> float:
    """When requests flow again, wall time in seconds; 0 when they do."""
    with suppress(StateError):
        pause = StateStore(config.state_file).read().pause
        if pause is not None and pause.holds(time.time()):
            return pause.until
    return 0.0


def _tell_of_pause(config: RouterConfig) -> None:
    if end := _pause_end(config):
        print(f"⏸️  Traffic is paused: what waits in the old workers waits on, until {clock_text(end)} or a resume")


def _refusal(config: RouterConfig, asked: RunningRouter) -> str:
    """Why the router did not do what it was asked for; "" while that is not known."""
    now = find_router(config)
    return now.fault if now is not None and now.pid == asked.pid and now.changes != asked.changes else ""


def _successor(config: RouterConfig, old: RunningRouter) -> RunningRouter | None:
    """The router that has taken over from the old one."""
    now = find_router(config)
    return now if now is not None and now.pid != old.pid else None


def _log(config: RouterConfig) -> Path:
    """Where a router in the background writes."""
    return Path(config.beside_state("logs/router.log"))


def _end_of(log: Path, begin: int) -> str:
    """The last lines that were written from byte `begin` on, after what they explain; "" where there are none."""
    lines = tail(log, _TAIL_LINES, begin)
    return f"; the end of {log}:\n" + _indented("\n".join(lines)) if lines else ""


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


def _running(config: RouterConfig) -> RunningRouter:
    router = find_router(config)
    if router is None:
        raise _not_found(config)
    return router


def _not_found(config: RouterConfig) -> ProcessError:
    port = config.main_port
    if worker := RouterClient(config, timeout_s=1).worker():
        with suppress(psutil.NoSuchProcess):
            master = psutil.Process(worker).ppid()
            return ProcessError(
                f"A router (pid {master}) serves on port {port}, but {config.pid_path} does not name it",
                f"kill -TERM {master}   # to stop it; -HUP to reload it",
            )
    holder = port_holder(port)
    also = f"; port {port} belongs to {holder}" if holder else ""
    return ProcessError(f"Router is not running{also}", f"{ROUTER_PROGRAM} start")
