"""Lines gathered and written in batches, so that a request waits for no disk and no reader."""

from __future__ import annotations

import select
import sys
import time
from logging import getLogger
from typing import Any, Protocol

from gevent import get_hub, sleep

from app.proxy.request_log.outlet import open_outlet

__all__ = ["LineFile", "Losses"]

logger = getLogger(__name__)

_BATCH_BYTES = 1 << 16
"""So much is written at once, however short the time since the last batch."""

_MOST_WAITING_BYTES = 1 << 20
"""So much is kept while it cannot be written; lines beyond are lost."""

_WRITE = 2
"""libev's event for a descriptor that can be written to."""

_LOOK_AGAIN_S = 0.02


class Losses(Protocol):
    """Where it is noted what is lost; `app.metrics.slot.SlotWriter` in a worker."""

    def count_lost_lines(self, count: int) -> None:
        """Counts lines that could not be written."""

    def say_log_fault(self, is_fault: bool) -> None:
        """Says whether lines cannot be written at this moment."""


class LineFile:
    """The end of a log in one worker; other workers write to the same file, each with a descriptor of its own.

    A batch is whole lines in one write that appends, and one that got through in part goes on where it has stopped.
    Where a disk is full, half a line is taken back meanwhile. Nothing here is called while another call is under way.

    Args:
        path: the file, or "-" for standard output.
        losses: where it is noted what is lost.

    Raises ConfigError when the file cannot be opened.
    """

    def __init__(self, path: str, losses: Losses) -> None:
        self._path = path
        self._losses = losses
        self._outlet = open_outlet(path)
        self._lines: list[str] = []
        self._size = 0  # of these
        self._waiting = b""  # older ones that are due
        self._longest = select.PIPE_BUF if self._outlet.is_narrow else sys.maxsize
        self._fault = ""
        self._lost = 0  # since the fault
        self._is_ending = False
        self._watcher: Any = None  # gevent has no types

    @property
    def is_narrow(self) -> bool:
        """Whether lines have to be short, because pipes cut long ones."""
        return self._outlet.is_narrow

    def add(self, line: str) -> None:
        """One more line, in ASCII, with its end; it is written with the next batch."""
        size = len(line)
        if size > self._longest:
            self._lose(1, f"a line of {size} bytes does not fit into a pipe")
            return
        self._lines.append(line)
        self._size += size
        if self._size >= _BATCH_BYTES or self._is_ending:
            self.flush()

    def flush(self) -> None:
        """Writes what there is, as far as that is possible at this moment; once a second, and when a batch is full."""
        lines = self._lines
        if lines:
            if len(self._waiting) < _MOST_WAITING_BYTES:
                self._waiting += "".join(lines).encode("ascii")
            else:
                self._lose(len(lines), "who reads it does not keep up")
            lines.clear()
            self._size = 0
        if self._waiting:
            self._write()

    def reopen(self) -> None:
        """Goes on in the file that has the configured name now; what was before is written into the old one.

        Raises ConfigError and keeps the old one.
        """
        self.flush()
        if self._path == "-":
            return
        # In this order: a closed descriptor's number may be a client's connection a moment later.
        before, self._outlet = self._outlet, open_outlet(self._path)
        self._stop_watching()
        before.close()
        self._longest = select.PIPE_BUF if self._outlet.is_narrow else sys.maxsize

    def finish(self, limit_s: float) -> None:
        """Writes all there is, and waits up to so many seconds for who reads it; later lines are written at once."""
        self._is_ending = True
        self.flush()
        ends = time.monotonic() + limit_s
        while self._waiting and time.monotonic() < ends:
            sleep(_LOOK_AGAIN_S)
            self.flush()
        left = self._waiting.count(b"\n")
        if left:
            self._waiting = b""
            self._lose(left, "the worker ends")

    def _write(self) -> None:
        outlet, data, begin = self._outlet, self._waiting, 0
        try:
            while begin < len(data):
                begin += outlet.write(data, begin)
        except BlockingIOError:
            self._watch()
        except OSError as error:
            self._note_fault(error.strerror or str(error))
        if begin == len(data):
            self._waiting = b""
            self._note_success()
            return
        starts = data.rfind(b"\n", 0, begin) + 1
        if starts < begin and outlet.take_back(begin - starts):
            begin = starts
        self._waiting = data[begin:]

    # --- a reader that does not keep up -------------------------------------------------------------------

    def _watch(self) -> None:
        """Goes on as soon as there is room in the pipe."""
        if self._watcher is None:
            self._watcher = get_hub().loop.io(self._outlet.descriptor, _WRITE)
            self._watcher.start(self._has_room)

    def _has_room(self) -> None:
        self._stop_watching()
        self.flush()

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None

    # --- what cannot be written ---------------------------------------------------------------------------

    def _lose(self, count: int, reason: str) -> None:
        self._note_fault(reason)
        self._lost += count
        self._losses.count_lost_lines(count)

    def _note_fault(self, reason: str) -> None:
        if not self._fault:
            self._fault = reason
            self._losses.say_log_fault(True)
            logger.error(
                "the access log %s cannot be written: %s; lines are lost, requests are not", self._path, reason
            )

    def _note_success(self) -> None:
        if self._fault:
            logger.warning("the access log %s is written again; %s lines were lost", self._path, self._lost)
            self._losses.say_log_fault(False)
            self._fault, self._lost = "", 0
