"""What lines are written to: a file, a pipe, a socket or a terminal."""

from __future__ import annotations

import os
import select
import stat
import sys
from _socket import MSG_DONTWAIT, socket  # gevent's own would make the descriptor of others non-blocking

from app.operator_errors import ConfigError

__all__ = ["Outlet", "open_outlet"]

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Appended lines of several processes do not mix; what is no file must not keep a worker waiting."""


class Outlet:
    """An open descriptor for whole lines.

    Attributes:
        descriptor: of this process alone, or standard output.
        is_narrow: bytes of several processes stay apart only in writes of up to `PIPE_BUF` (pipe(7)).
    """

    __slots__ = ("_is_own_file", "_is_socket", "descriptor", "is_narrow")

    def __init__(self, descriptor: int, is_own: bool) -> None:
        """`is_own`: nobody else has this open file description, whose offset then is where our last write ended."""
        mode = os.fstat(descriptor).st_mode
        self.descriptor = descriptor
        self.is_narrow = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self._is_own_file = is_own and stat.S_ISREG(mode)
        self._is_socket = stat.S_ISSOCK(mode)

    def write(self, data: bytes, begin: int) -> int:
        """Writes some of `data` from `begin` on, and returns how much.

        Raises BlockingIOError while who reads does not keep up, and OSError.
        """
        if not self.is_narrow:
            return os.write(self.descriptor, data[begin:] if begin else data)
        end = begin + select.PIPE_BUF
        if end < len(data):
            end = data.rfind(b"\n", begin, end) + 1 or end
        if self._is_socket:
            return _send(self.descriptor, data[begin:end])
        return os.write(self.descriptor, data[begin:end])

    def take_back(self, size: int) -> bool:
        """Takes the last bytes of ours off the end again; not where others have written behind them, or may not be."""
        if not self._is_own_file:
            return False
        ends = os.lseek(self.descriptor, 0, os.SEEK_CUR)
        if os.fstat(self.descriptor).st_size != ends:
            return False
        try:
            os.ftruncate(self.descriptor, ends - size)
        except OSError:  # a file that can only grow (chattr +a)
            return False
        return True

    def close(self) -> None:
        """Nothing is written any more."""
        os.close(self.descriptor)


def open_outlet(path: str) -> Outlet:
    """A file that is made where there is none, or standard output for "-". Raises ConfigError."""
    try:
        if path != "-":
            return Outlet(os.open(path, _FLAGS, 0o640), is_own=True)
        return Outlet(_of_our_own(sys.stdout.fileno()), is_own=False)
    except OSError as error:
        raise ConfigError(f"access_log = {path}: {error.strerror}") from error


def _send(descriptor: int, data: bytes) -> int:
    """Sends without a wait, which is a matter of this call alone."""
    sock = socket(fileno=descriptor)
    try:
        return sock.send(data, MSG_DONTWAIT)
    finally:
        sock.detach()


def _of_our_own(descriptor: int) -> int:
    """A pipe opened once more: whether a write may wait is a matter of the description, which others share."""
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        try:
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            pass  # a pipe of another user's: a write waits, as it does for everybody
    return os.dup(descriptor)
