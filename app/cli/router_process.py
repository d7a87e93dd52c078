"""The router as processes: which one runs, who holds its port, how it is started and told to stop."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.command_line import ROUTER_PROGRAM
from app.deploy.processes.port_use import kept_by
from app.deploy.processes.process_table import is_same_process
from app.deploy.processes.sessions import port_holder
from app.installation import ROOT, commands, script
from app.operator_errors import OperatorError, ProcessError
from app.server.pid_file import records
from app.settings.loading import HOME_VARIABLE
from app.settings.tables.router_settings import RouterConfig
from app.state.store import mending

__all__ = ["RunningRouter", "check_port_is_free", "child_pids", "find_router", "gunicorn_command", "start_detached"]
__all__ += ["wait_until"]

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class RunningRouter:
    """A router whose master process is alive, as its pid file tells it."""

    pid: int
    port: int
    birth: str  # of the process, without which a pid proves nothing
    changes: int = 0  # reloads and upgrades that are over
    fault: str = ""  # why the last of them failed

    def is_alive(self) -> bool:
        """Whether that very process still lives; it takes its pid file away a moment before it ends."""
        return is_same_process(self.pid, self.birth)

    def process(self) -> psutil.Process:
        return psutil.Process(self.pid)

    def checkout(self) -> Path | None:
        """The directory of the program that it runs, the one that its gunicorn.conf.py is in; None if it hides that."""
        with suppress(psutil.Error):
            process = self.process()
            for argument in process.cmdline():
                if Path(argument).name == "gunicorn.conf.py":
                    return Path(process.cwd(), argument).resolve().parent
        return None

    def left_in(self) -> str:
        """Its working directory, where that is not this command's any more: behind a link that has moved, or removed.

        "" where it is, or is not ours to know. Only a command that was given a home says where that is.
        """
        with suppress(OSError):
            path = f"/proc/{self.pid}/cwd"
            there, here = os.stat(path), os.stat(".")
            if not os.path.samestat(there, here) and (there.st_nlink == 0 or os.environ.get(HOME_VARIABLE)):
                return os.readlink(path)
        return ""

    def workers(self) -> set[int]:
        """The pids of its worker processes; empty when the router has ended."""
        return child_pids(self.pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master; raises `ProcessError` when it belongs to somebody else."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return  # it has just ended, which whoever waits for it will see
        except PermissionError as error:
            owner = self.process().username()
            raise ProcessError(
                f"The router (pid {self.pid}) belongs to {owner}", f"sudo -u {owner} the same command"
            ) from error


def child_pids(pid: int) -> set[int]:
    """The processes that one has started; empty when it has ended."""
    with suppress(psutil.NoSuchProcess):
        return {child.pid for child in psutil.Process(pid).children()}
    return set()


def find_router(config: RouterConfig) -> RunningRouter | None:
    """The router that wrote the pid file, if that very process still lives; a reused pid is not believed."""
    for noted in records(Path(config.pid_path)):
        with suppress(ValueError, KeyError, TypeError):
            router = RunningRouter(
                int(noted["pid"]),
                int(noted["port"]),
                str(noted["birth"]),
                int(noted.get("changes", 0)),
                str(noted.get("fault", "")),
            )
            if router.is_alive():
                return router
    return None


def check_port_is_free(config: RouterConfig) -> None:
    """Try the addresses that the router is to listen on; raises `ProcessError` that says what is in the way."""
    for where in config.listens_at:
        _check_address(config, where)


def _check_address(config: RouterConfig, where: str) -> None:
    host, _, port = where.rpartition(":")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does: TIME_WAIT is no holder
            probe.bind(address)
    except OSError as error:
        raise _bind_error(config, where, error) from error


def _bind_error(config: RouterConfig, where: str, error: OSError) -> OperatorError:
    if error.errno == errno.EADDRINUSE:
        port = int(where.rpartition(":")[2])
        if router := find_router(config):
            return ProcessError(
                f"The router is already running on port {router.port} (pid {router.pid})",
                f"{ROUTER_PROGRAM} reload, or {ROUTER_PROGRAM} stop",
            )
        return _taken(port)
    if error.errno == errno.EACCES:
        return ProcessError(f"Not allowed to listen on {where}", "--port with 1024 or more")
    return ProcessError(f"Cannot listen on {where}: {error.strerror}", "--bind with an address of this machine")


def _taken(port: int) -> ProcessError:
    holder = port_holder(port)
    if not holder and (kept := kept_by(port)):
        return ProcessError(
            f"Port {port} is not free, though nothing listens there: it has {kept}", f"ss -tan 'sport = :{port}'"
        )
    if not holder:
        return ProcessError(f"Port {port} is taken by a process that this user cannot see", f"sudo lsof -i :{port}")
    pid = int(holder.split()[1])
    if home := _home_of_router(pid):
        stop = f"{HOME_VARIABLE}={shlex.quote(home)} {shlex.quote(str(commands() / 'traffic_router'))} stop"
        return ProcessError(
            f"Port {port} is taken by another traffic router, that of {home}",
            f"{stop}, or another main_port in traffic_router.toml",
        )
    return ProcessError(f"Port {port} is taken by {holder}", f"kill {pid}, or start with --port=PORT")


def _home_of_router(pid: int) -> str:
    """The folder of the deployment whose router, or worker of a router, a process is; "" when it is none."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        words = process.cmdline()
        if "app:wsgi" in words and any(word.endswith("gunicorn.conf.py") for word in words):
            return process.environ().get(HOME_VARIABLE) or process.cwd()
    return ""


def gunicorn_command() -> list[str]:
    """The command that serves the router, from any working directory whose environment leads to `app`.

    gunicorn's own script is run rather than `-m gunicorn`: it runs itself anew on an upgrade, and as a module
    its own package directory would then come first on the path and hide `http` and our `app`.
    """
    return [
        sys.executable,
        script("gunicorn"),
        "-c",
        str(ROOT / "gunicorn.conf.py"),
        "app:wsgi",
    ]


def start_detached(command: list[str], environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own, with its output added to the log file.

    Raises `ProcessError` when that cannot be written.
    """
    try:
        log.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ProcessError(f"{log} cannot be written: {error.strerror}", mending(error, log)) from error
    try:
        return subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(output)


def wait_until(holds: Callable[[float], bool], timeout_s: float) -> bool:
    """Ask again and again, with the seconds gone by, until it holds or the time is up; says which."""
    began = time.monotonic()
    while True:
        elapsed = time.monotonic() - began
        if holds(elapsed):
            return True
        if elapsed >= timeout_s:
            return False
        time.sleep(_POLL_S)
