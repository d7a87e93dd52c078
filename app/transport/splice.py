"""Moving the bytes of a long body from one socket to another inside the kernel."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator

from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint

__all__ = ["SPLICE_FROM_BYTES", "SourceEnded", "splice_body"]

SPLICE_FROM_BYTES = 262_144
"""Shorter rests are read and sent: a pipe and its system calls only pay when there is something to move."""

_PIPE_BYTES = 262_144
"""Four times a pipe's default, so that one step moves what a socket buffer holds."""

_KEPT_PIPES = 8

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK

_kept: list[tuple[int, int]] = []


class SourceEnded(Exception):
    """The source was closed or reset before the body was complete."""


def splice_body(
    source: Endpoint, target: Endpoint, length: int, wait: Callable[[], None], sending: Deadlines
) -> Iterator[int]:
    """Moves `length` bytes from `source` to `target` through a pipe; they never enter this process.

    Yields after each step how many bytes the target took in it.

    Args:
        wait: waits until `source` may have bytes; may return early.
        sending: limit of a wait for the target to take some.

    Raises SourceEnded, OSError when the target is gone, Expired, and what `wait` raises.
    `source.buffered` must be empty.
    """
    into, out = _kept.pop() if _kept else _open_pipe()
    in_pipe = 0
    try:
        while length:
            try:
                in_pipe = os.splice(source.fileno(), out, min(length, _PIPE_BYTES), flags=_FLAGS)
            except BlockingIOError:
                wait()
                continue
            except OSError as error:
                raise SourceEnded(error.strerror) from error
            if not in_pipe:
                raise SourceEnded("closed")
            length -= in_pipe
            while in_pipe:
                try:
                    taken = os.splice(into, target.fileno(), in_pipe, flags=_FLAGS)
                except BlockingIOError:
                    target.wait_writable(sending)
                else:
                    in_pipe -= taken
                    yield taken
    finally:
        if in_pipe or len(_kept) >= _KEPT_PIPES:  # what is left in it must not become somebody else's body
            os.close(into)
            os.close(out)
        else:
            _kept.append((into, out))


def _open_pipe() -> tuple[int, int]:
    into, out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # the user's share of pipe memory is spent; the default size works as well
    return into, out
