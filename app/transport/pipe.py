"""A pipe that bytes go through from one socket to another without entering this process (`splice(2)`)."""

from __future__ import annotations

import fcntl
import os

__all__ = ["SPLICE_FROM_BYTES", "Pipe", "SourceEnded"]

SPLICE_FROM_BYTES = 262_144
"""Shorter rests are read and sent: a pipe and its system calls only pay when there is something to move."""

_PIPE_BYTES = 262_144
"""Four times a pipe's default, so that one step moves what a socket buffer holds."""

_KEPT_PIPES = 8

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class SourceEnded(Exception):
    """The source was closed or reset before the body was complete."""


class Pipe:
    """Holds what one socket has given and the other has not taken yet; made by `Pipe.take`.

    One that is dropped instead of given back is closed with what is in it.

    Attributes:
        held: bytes in it.
    """

    __slots__ = ("_into", "_out", "held")

    def __init__(self) -> None:
        self.held = 0
        self._out, self._into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self._into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            pass  # the user's share of pipe memory is spent; the default size works as well

    @classmethod
    def take(cls) -> Pipe:
        """An empty pipe: one that was given back, or a new one."""
        return _kept.pop() if _kept else cls()

    def give_back(self) -> None:
        """Keeps an empty pipe for the next body; what is left in one must not become somebody else's body."""
        if not self.held and len(_kept) < _KEPT_PIPES:
            _kept.append(self)

    def fill(self, source: int, most: int) -> bool:
        """Moves what a socket has received, up to `most` bytes, into the empty pipe; False when there is nothing yet.

        Raises SourceEnded.
        """
        try:
            self.held = os.splice(source, self._into, min(most, _PIPE_BYTES), flags=_FLAGS)
        except BlockingIOError:
            return False
        except OSError as error:
            raise SourceEnded(error.strerror) from error
        if not self.held:
            raise SourceEnded("closed")
        return True

    def drain(self, target: int) -> int:
        """Moves to a socket what it takes now, and returns how much that was. Raises OSError when it is gone."""
        try:
            taken = os.splice(self._out, target, self.held, flags=_FLAGS)
        except BlockingIOError:
            return 0
        self.held -= taken
        return taken

    def __del__(self) -> None:
        os.close(self._into)
        os.close(self._out)


_kept: list[Pipe] = []
