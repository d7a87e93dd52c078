"""The processes that belong together, and whose they are: found in the kernel's table, and signalled."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import psutil

from app.operator_errors import ProcessError
from app.state.instances import name_in

__all__ = ["Session", "end_all", "port_holder"]

_KILL_WAIT_S: Final = 5.0
"""SIGKILL takes effect at once, except on a process that waits inside the kernel."""


class Session:
    """The processes of one version: a session that the version's first process leads, or led.

    A session is numbered by its leader's pid. While the leader is known to live the number can be trusted;
    afterwards it may have come to belong to somebody else, and only a process with our variable in its
    environment counts.
    """

    def __init__(self, number: int, name: str, *, is_trusted: bool) -> None:
        self.number = number
        self.name = name
        self._is_trusted = is_trusted

    def is_empty(self) -> bool:
        """Whether none of its processes lives."""
        return not self.members()

    def members(self) -> list[psutil.Process]:
        """Its living processes."""
        return [found for pid in psutil.pids() if (found := self._member(pid)) is not None]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to each of its processes; raises `ProcessError` when they belong to another user."""
        for member in self.members():
            try:
                member.send_signal(number)
            except psutil.NoSuchProcess:
                pass  # it has just ended
            except psutil.AccessDenied as error:
                raise ProcessError(
                    f"{self.name} (pid {self.number}) belongs to another user",
                    "the same command as that user, or with sudo",
                ) from error

    def _member(self, pid: int) -> psutil.Process | None:
        try:
            if os.getsid(pid) != self.number:
                return None
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process if self._is_trusted or name_in(process.environ()) == self.name else None
        except (psutil.Error, OSError):
            return None


def end_all(
    sessions: Sequence[Session],
    number: signal.Signals,
    wait: Callable[[Callable[[], bool], float], bool],
    limit_s: float,
) -> bool:
    """End them all: the signal first, SIGKILL `limit_s` seconds later; gives whether that was needed.

    `wait` waits for a condition, at most so many seconds. Raises `ProcessError` when even SIGKILL does not end one.
    """
    for session in sessions:
        session.signal(number)
    if wait(lambda: all(session.is_empty() for session in sessions), limit_s):
        return False
    for session in sessions:
        session.signal(signal.SIGKILL)
    if not wait(lambda: all(session.is_empty() for session in sessions), _KILL_WAIT_S):
        stays = next(session for session in sessions if not session.is_empty())
        raise ProcessError(
            f"{stays.name} (pid {stays.number}) does not end, not even by SIGKILL",
            f"ps -o pid,stat,wchan:32,args -g {stays.number}   # what it waits for",
        )
    return True


def port_holder(port: int) -> str:
    """Who listens on a local TCP port, as "pid 12 (python -m http.server)"; empty when it cannot be seen."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            # laddr is (address, port), and empty for a socket without one
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f"pid {connection.pid} ({command[:100]})"
    return ""
