"""Ownership by open-file-description locks on single bytes: who died no longer holds any.

A plain `lockf` lock belongs to the process and is silently lost when any descriptor of the file is closed
anywhere in it; an OFD lock belongs to the open file and goes away with it, on `kill -9` too
(fcntl_locking(2)). The locked bytes lie far beyond the end of the file and stand for nothing but
themselves.
"""

from __future__ import annotations

import fcntl
import os
import struct
from types import TracebackType
from typing import Self

# struct flock on 64-bit Linux: l_type, l_whence, (padding), l_start, l_len, l_pid, (padding).
_FLOCK = struct.Struct("hhqqi4x")
_LOCKS_AT = 1 << 40
_LEADER = _LOCKS_AT - 1


def claim_byte(slot: int) -> int:
    """Held from the moment a process takes a slot: no other may."""
    return _LOCKS_AT + 2 * slot


def alive_byte(slot: int) -> int:
    """Held once the slot is in order: until then readers see its last owner, who is dead."""
    return _LOCKS_AT + 2 * slot + 1


def leader_byte() -> int:
    """Held by the one worker that probes and keeps the history."""
    return _LEADER


class ByteLocks:
    """An open file of its own, to take locks on or to ask about those of others.

    Its own locks it does not see: ask through an object that holds none. A forked child shares them with
    its parent; call it after the fork.
    """

    def __init__(self, path: str, may_take: bool = True) -> None:
        """Opens `path`, which needs write permission only to take locks, not to ask. Raises OSError."""
        self._fd = os.open(path, (os.O_RDWR if may_take else os.O_RDONLY) | os.O_CLOEXEC)

    def take(self, byte: int) -> bool:
        """Takes a byte's lock unless another open file holds it."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, byte))
        except BlockingIOError:
            return False
        return True

    def is_held(self, byte: int) -> bool:
        """Whether another open file holds a byte's lock."""
        answer = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, byte))
        lock_type: int = _FLOCK.unpack(answer)[0]
        return lock_type != fcntl.F_UNLCK

    def close(self) -> None:
        """Gives all of them back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _flock(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
