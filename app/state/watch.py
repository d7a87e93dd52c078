"""The state as every request sees it: one `os.stat` of the state file, and a read of it only when it has
changed.

Promise "read your switch": the deployer renames a new state file into place before its command returns, so
a look at the file's identity at each request is enough, and no timer is involved. Promise "last good
state": whatever happens to the file, the last state that could be read stays in force and `fault` says what
is wrong.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

from app.errors import StateError
from app.state.codec import decode
from app.state.model import BlueGreenState

__all__ = ["MAX_STATE_BYTES", "LastState", "StateWatch"]

MAX_STATE_BYTES = 1 << 16
"""A real state file has about a kilobyte; anything this large is another file put in its place. The variable of the
environment in which an upgrade hands it on has room for twice as much."""

_SETTLED_NS = 50_000_000
"""A file younger than this may change again without a new time stamp: the kernel stamps files with its own
tick (1 to 10 ms). Until then its identity is not trusted and each call reads it (git calls such an entry
racy)."""

_UNKNOWN = -1


class StateWatch:
    """Reads one state file for as long as the process lives; never raises, whatever becomes of the file.

    `fault` is empty while the file is fine, else one line for the log and the health endpoint.
    """

    __slots__ = ("_ino", "_mtime_ns", "_raw_path", "_size", "_state", "_stat", "fault", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.fault = ""
        self._raw_path = os.fsencode(self.path)  # as bytes, os.stat need not encode it on each call
        self._stat = os.stat
        self._state: BlueGreenState | None = None
        self._forget()

    def current(self) -> BlueGreenState | None:
        """The state in force, or None when there has never been a readable state file."""
        try:
            seen = self._stat(self._raw_path)
        except OSError as error:
            return self._keep(_why_gone(error))
        if seen.st_mtime_ns == self._mtime_ns and seen.st_ino == self._ino and seen.st_size == self._size:
            return self._state
        return self._reread(seen)

    def inherit(self, raw: bytes) -> None:
        """Takes the bytes of a state file of before for the last good state, until a file can be read; b"" is none."""
        with contextlib.suppress(StateError):  # another release has read them
            self._state = self._state or decode(raw)

    def _reread(self, seen: os.stat_result) -> BlueGreenState | None:
        # A FIFO or a device in the file's place would block or feed us for ever, so it is never opened.
        if not stat.S_ISREG(seen.st_mode):
            return self._keep("is not a regular file")
        if seen.st_size > MAX_STATE_BYTES:
            return self._keep(f"has {seen.st_size} bytes, more than any state file")
        try:
            raw, seen = _read(self._raw_path)
        except OSError as error:
            return self._keep(_why_gone(error))
        try:
            state = decode(raw)
        except StateError as error:
            kept = self._keep(f"is not usable ({error})")
            self._remember(seen)  # no need to parse the same broken bytes for each request
            return kept
        self._remember(seen)
        self.fault = ""
        self._state = state
        return state

    def _keep(self, why: str) -> BlueGreenState | None:
        """Stay with the last good state and say why. The next call looks again from scratch."""
        serving = "serving the last good state" if self._state else "no state has been read yet"
        self.fault = f"state file {self.path} {why}; {serving}"
        self._forget()
        return self._state

    def _remember(self, seen: os.stat_result) -> None:
        if abs(time.time_ns() - seen.st_mtime_ns) < _SETTLED_NS:
            self._forget()
            return
        self._mtime_ns = seen.st_mtime_ns
        self._ino = seen.st_ino
        self._size = seen.st_size

    def _forget(self) -> None:
        self._mtime_ns = self._ino = self._size = _UNKNOWN


class LastState:
    """The bytes of the last good state file, which the master keeps for workers that begin when it cannot be read.

    They are `raw`, and b"" before there was any.
    """

    __slots__ = ("path", "raw")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.raw = b""

    def look(self) -> None:
        """To be called now and then, and before a worker begins."""
        with contextlib.suppress(OSError, StateError):
            raw, _ = _read(os.fsencode(self.path))
            decode(raw)
            self.raw = raw


def _read(raw_path: bytes) -> tuple[bytes, os.stat_result]:
    """The file's bytes and the identity of the very file they came from, taken before they were read.

    Were it changed while we read, its identity would differ at the next call and it would be read again.
    """
    # O_NONBLOCK: the name may have become a FIFO since we looked.
    descriptor = os.open(raw_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        seen = os.fstat(descriptor)
        return os.read(descriptor, MAX_STATE_BYTES + 1), seen
    finally:
        os.close(descriptor)


def _why_gone(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return f"cannot be read ({error.strerror or error})"
