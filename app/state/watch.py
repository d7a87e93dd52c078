"""The state as every request sees it: one `os.stat` of the state file, and a read of it only when it has
changed.

Promise "read your switch": the deployer renames a new state file into place before its command returns, so
a look at the file's identity at each request is enough, and no timer is involved. Promise "last good
state": whatever happens to the file, the last state that any worker could read stays in force for all of them
and `fault` says what is wrong.

So a state is published to the others (`app.state.last_good`) before it is served, and a file that has changed is
read and published in one turn, without another worker in between: states become the last one in the order in
which they were in the file. Who finds the file broken takes, in its turn, the last one.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from app.operator_errors import StateError
from app.state.codec import decode
from app.state.last_good import MAX_STATE_BYTES, LastGood
from app.state.model import PORTS, BlueGreenState
from app.state.store import keep_last_good, last_good_path

__all__ = ["StateWatch"]

_SETTLED_NS = 50_000_000
"""A file younger than this may change again without a new time stamp: the kernel stamps files with its own
tick (1 to 10 ms). Until then its identity is not trusted and each call reads it (git calls such an entry
racy)."""

_UNKNOWN = -1


class StateWatch:
    """Reads one state file for as long as the process lives; never raises, whatever becomes of the file.

    `fault` is empty while the file is fine, else one line for the log and the health endpoint.
    """

    __slots__ = (
        "_ctime_ns",
        "_ino",
        "_last_good",
        "_ports",
        "_raw_path",
        "_seen",
        "_size",
        "_stat",
        "_state",
        "fault",
        "path",
    )

    def __init__(self, path: str | os.PathLike[str], ports: Mapping[str, int] = PORTS) -> None:
        self.path = Path(path).absolute()
        self._ports = ports
        self.fault = ""
        self._raw_path = os.fsencode(self.path)  # as bytes, os.stat need not encode it on each call
        self._stat = os.stat
        self._state: BlueGreenState | None = None
        self.share(LastGood())

    def current(self) -> BlueGreenState | None:
        """The state in force, or None when there has never been a readable state file."""
        try:
            seen = self._stat(self._raw_path)
        except OSError as error:
            with self._last_good.turn():
                return self._keep(_why_gone(error))
        # Not the time of the last writing: a file that was moved away and back has that of before.
        if seen.st_ctime_ns == self._ctime_ns and seen.st_ino == self._ino and seen.st_size == self._size:
            return self._state
        with self._last_good.turn():
            return self._reread(seen)

    def share(self, last_good: LastGood) -> None:
        """From now on the last good state is this one, which others know as well."""
        self._last_good = last_good
        self._seen = 0  # as many of the published states are older than ours, or it
        self._forget()

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
            state = decode(raw, self._ports)
        except StateError as fault:
            kept = self._keep(f"is not usable ({fault})")
            self._remember(seen)  # no need to parse the same broken bytes for each request
            return kept
        if self._last_good.publish(raw) and self._last_good.fd >= 0:
            keep_last_good(self.path, raw, by=".router")
        self._seen = self._last_good.count
        self._remember(seen)
        self.fault = ""
        self._state = state
        return state

    def _keep(self, why: str) -> BlueGreenState | None:
        """Stay with the last good state and say why. The next call looks again from scratch."""
        if not self._last_good.count:
            self._take_up_kept()
        if self._seen != self._last_good.count:
            self._seen = self._last_good.count
            with contextlib.suppress(StateError):  # another release has read it
                self._state = decode(self._last_good.read(), self._ports)
        serving = "serving the last good state" if self._state else "no state has been read yet"
        self.fault = f"state file {self.path} {why}; {serving}"
        self._forget()
        return self._state

    def _take_up_kept(self) -> None:
        """Begin with the last good state that is kept beside the file: a router may start while that is broken."""
        with contextlib.suppress(OSError, StateError):
            raw, _ = _read(os.fsencode(last_good_path(self.path)))
            decode(raw, self._ports)
            self._last_good.publish(raw)

    def _remember(self, seen: os.stat_result) -> None:
        if abs(time.time_ns() - seen.st_ctime_ns) < _SETTLED_NS:
            self._forget()
            return
        self._ctime_ns = seen.st_ctime_ns
        self._ino = seen.st_ino
        self._size = seen.st_size

    def _forget(self) -> None:
        self._ctime_ns = self._ino = self._size = _UNKNOWN


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
