"""The last good state of a router, one for its master and all its workers, in memory that they share.

In memory, because a full disk, a read-only folder and a state file of another account, which are among the things
that break a state file, must not keep it from being known; and not among the metrics, whose file may be replaced.
The memory has no name: workers get it with the fork, a new master by the number of its descriptor.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Self

__all__ = ["MAX_STATE_BYTES", "LastGood"]

MAX_STATE_BYTES = 1 << 16
"""A real state file has about a kilobyte; anything this large is another file put in its place."""

_MARK = int.from_bytes(b"lastgood", "little")
_PLACES_AT = 64
_PLACE_BYTES = 8 + MAX_STATE_BYTES
_BYTES = _PLACES_AT + 2 * _PLACE_BYTES

_PATIENCE_S = 0.1
"""A turn takes some 50 µs. Who has one for so much longer is stopped, and nobody shall wait for that."""


class LastGood:
    """The bytes of the last good state file, and the right to say what they are, which one process has at a time.

    The map, in 8-byte little-endian words and bytes:

        0     a mark, by which a new master knows it
        8     how many states have been published; the last one is in place `count` % 2
        64    two places: a length, and as many bytes of a state file

    A state becomes the last one by the count, in one store, so that who is killed before leaves the one before it.

    Args:
        fd: of the memory to share; without one it is only for this process and those that it forks, which then have
            no turns.
    """

    def __init__(self, fd: int = -1) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, _BYTES)
        self._words = memoryview(self._memory).cast("Q")
        self._words[0] = _MARK
        self._has_turn = fd < 0

    @classmethod
    def shared(cls) -> Self:
        """A new one, for all processes that this one forks or hands it on to."""
        try:
            fd = os.memfd_create("router-last-state")
            os.ftruncate(fd, _BYTES)
            return cls(fd)
        except OSError:  # no descriptor or memory is left, and the router starts nevertheless
            return cls()

    @classmethod
    def handed_on(cls, number: str) -> Self | None:
        """The one of the master before, by what `hand_on` gave; None when that is not one."""
        try:
            fd = int(number)
            is_one = os.fstat(fd).st_size == _BYTES and os.pread(fd, 8, 0) == _MARK.to_bytes(8, "little")
        except (ValueError, OverflowError, OSError):
            return None
        if not is_one:
            return None
        os.set_inheritable(fd, False)
        return cls(fd)

    def hand_on(self) -> str:
        """The number by which a program that this process becomes can take it up."""
        if self.fd >= 0:
            os.set_inheritable(self.fd, True)
        return str(self.fd)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    @property
    def count(self) -> int:
        """How many states have been published; 0 when there has been none."""
        return self._words[1]

    def read(self) -> bytes:
        """The last one; b"" before there was any."""
        while True:
            count = self.count
            at = _PLACES_AT + count % 2 * _PLACE_BYTES
            raw = self._memory[at + 8 : at + 8 + self._words[at // 8]]
            if self.count == count:
                return raw

    def publish(self, raw: bytes) -> bool:
        """Makes `raw` the last one; gives whether it was another. In one's turn: without it, nothing happens."""
        if not self._has_turn or (self.count and self.read() == raw):
            return False
        count = self.count + 1
        at = _PLACES_AT + count % 2 * _PLACE_BYTES
        self._words[at // 8] = len(raw)
        self._memory[at + 8 : at + 8 + len(raw)] = raw
        self._words[1] = count
        return True

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One's turn, during which no other process has its own. It does not go over to other greenlets meanwhile."""
        if self.fd < 0:
            yield
            return
        self._has_turn = self._wait_for_turn()
        try:
            yield
        finally:
            if self._has_turn:
                self._has_turn = False
                fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def _wait_for_turn(self) -> bool:
        """Whether it came. The kernel takes it back from who dies."""
        gives_up_at = monotonic() + _PATIENCE_S
        while True:
            # By process: workers have the descriptor from their master and with it one open file.
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if monotonic() > gives_up_at:
                    return False
                os.sched_yield()
            else:
                return True
