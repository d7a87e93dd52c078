"""A version in the foreground, for systemd, Procfile managers and containers: this process is its supervisor.

Signals are handed on to the application and its exit status becomes ours. Of several processes all end when one does,
for whoever started us knows of one. SIGTERM, by which every manager tells a
process to end, becomes the application's own `stop_signal`. An application that is told to end and does not is killed.
Whoever started us decides about restarts.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

from app.command_line import PROGRAM
from app.deploy.processes import supervisor
from app.deploy.processes.launch import Launch
from app.deploy.processes.process_table import Found, Processes
from app.operator_errors import ProcessError
from app.settings.checks import STOP_SIGNALS
from app.state.model import VersionState

__all__ = ["FORWARDED", "ForegroundProcesses"]

FORWARDED: Final = tuple(signal.Signals[f"SIG{name}"] for name in STOP_SIGNALS)
"""What a process manager may send to a server."""

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})


class ForegroundProcesses(Processes):
    """`Processes` whose processes are children of this one, which writes their records and waits for them.

    `before_end` is called once, when this process is told to end, before the children are.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._record_fds: dict[str, int] = {}
        self._end_timeout_s = 0.0
        self.before_end: Callable[[], None] = lambda: None
        self._stop_signal = signal.SIGTERM
        self.was_asked_to_end = False
        self.was_killed = False

    def start(self, name: str, launch: Launch) -> int:
        """Start a version with our own output; gives its pid. Raises `ProcessError` when that fails."""
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._record_fds[name] = supervisor.hold(str(self.record_path(name)))
        try:
            child = self._children[name] = subprocess.Popen(
                launch.arguments,
                cwd=launch.directory,
                env=launch.environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessError(
                f"{name} could not be started: {launch.arguments[0]}: {error.strerror}",
                "set the command in traffic_router.toml ([app] command)",
            ) from error
        self._note(name, None)
        _tell_systemd()
        return child.pid

    def find(self, version: VersionState) -> Found:
        """As `Processes.find`; children that have ended are received first."""
        for name, child in self._children.items():
            if child.poll() is not None:
                self._note(name, child.returncode)
        return super().find(version)

    def wait(self) -> int:
        """Wait for the children; when one has ended, the others are told to.

        Gives the exit code of the first that ended, or minus the number of the signal that killed it.
        """
        if not self._children:
            raise ProcessError("there is no process to wait for", f"{PROGRAM} status")
        while all(child.poll() is None for child in self._children.values()):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # `poll` is to receive it
        first = next(child.returncode for child in self._children.values() if child.returncode is not None)
        if self.has_child and not self.was_asked_to_end:
            self._begin_end()
            self._send(self._stop_signal)
        for name, child in self._children.items():
            self._note(name, child.wait())
        return first

    @property
    def has_child(self) -> bool:
        """Whether a process that was started still lives."""
        return any(child.poll() is None for child in self._children.values())

    def forward_signals(self, end_timeout_s: float, stop_signal: str = "TERM") -> None:
        """Hand each signal on to the child from now on; before there is one, a request to end ends us.

        SIGTERM reaches it as `stop_signal`. A child that was asked to end and lives `end_timeout_s` seconds later is
        killed.
        """
        self._end_timeout_s = end_timeout_s
        self._stop_signal = signal.Signals[f"SIG{stop_signal}"]
        for number in FORWARDED:
            signal.signal(number, self._forward)
        signal.signal(signal.SIGALRM, self._kill)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if number in _ENDING or number == self._stop_signal:
            if not self._children:
                if not self.was_asked_to_end:  # the first of them ends this command already
                    self.was_asked_to_end = True
                    raise KeyboardInterrupt
                return
            if not self.was_asked_to_end:
                self.was_asked_to_end = True
                self.before_end()
                self._begin_end()
        self._send(self._stop_signal if number == signal.SIGTERM else number)

    def _begin_end(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, max(self._end_timeout_s, 0.001))  # 0 would mean never

    def _kill(self, _number: int, _frame: FrameType | None) -> None:
        self.was_killed = any(child.returncode is None for child in self._children.values())
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        for child in self._children.values():
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, number)

    def _note(self, name: str, status: int | None) -> None:
        supervisor.write(self._record_fds[name], self._children[name].pid, status, mode="foreground")


def _tell_systemd() -> None:
    """Says that the version has been launched (sd_notify(3)); until it is healthy, other commands wait for this one.

    Said only then, it would keep the router, which comes after the versions, from starting.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # What systemd is not told it takes for a start that took too long, and ends us.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", address.replace("@", "\0", 1))
