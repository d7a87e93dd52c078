"""The processes that belong together, and whose they are: found in the kernel's table, and signalled."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import psutil

from app.operator_errors import ProcessError

__all__ = ["Session", "port_holder"]


class Session:
    """The processes of one version: a session that the version's first process leads, or led.

    A session is numbered by its leader's pid. While the leader is known to live the number can be trusted;
    afterwards it may have come to belong to somebody else, and only a process with our variable in its
    environment counts.
    """

    def __init__(self, number: int, name: str, *, is_trusted: bool) -> None:
        self._number = number
        self._name = name
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
                    f"{self._name} (pid {self._number}) belongs to another user",
                    "the same command as that user, or with sudo",
                ) from error

    def _member(self, pid: int) -> psutil.Process | None:
        try:
            if os.getsid(pid) != self._number:
                return None
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process if self._is_trusted or process.environ().get("BG_VERSION") == self._name else None
        except (psutil.Error, OSError):
            return None


def port_holder(port: int) -> str:
    """Who listens on a local TCP port, as "pid 12 (python -m http.server)"; empty when it cannot be seen."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            # laddr is (address, port), and empty for a socket without one
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f"pid {connection.pid} ({command[:100]})"
    return ""
