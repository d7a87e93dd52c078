"""Where the events of an event stream end (WHATWG HTML, "Server-sent events"): at each empty line."""

from __future__ import annotations

import re

from app.protocol.response import ResponseHead

__all__ = ["EventTracker", "is_event_stream"]

_BOUNDARY = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
"""Two line ends in a row: CRLF, LF or CR each."""

_AT_BOUNDARY = re.compile(_BOUNDARY.pattern + rb"\Z")

_TAIL = 3
"""So many of the bytes before matter: a whole boundary is at most four."""


class EventTracker:
    """Follows an event stream through its bytes, in whatever parts they come."""

    __slots__ = ("_is_new", "_tail")

    def __init__(self) -> None:
        self._is_new = True
        self._tail = b""

    @property
    def at_boundary(self) -> bool:
        """Whether every event so far is complete, and no other has begun."""
        return self._is_new or _AT_BOUNDARY.search(self._tail) is not None

    def feed(self, data: bytes) -> None:
        """Takes note of the next bytes."""
        if data:
            self._is_new = False
            self._tail = data[-_TAIL - 1 :] if len(data) > _TAIL else (self._tail + data)[-_TAIL - 1 :]

    def end_in(self, data: bytes) -> int:
        """How many of the next bytes belong to the event under way: 0 at a boundary, -1 when it does not end there.

        `data` is not taken note of.
        """
        if self.at_boundary:
            return 0
        before = self._tail[-_TAIL:]
        for match in _BOUNDARY.finditer(before + data):
            if match.end() > len(before):
                return match.end() - len(before)
        return -1


def is_event_stream(head: ResponseHead) -> bool:
    """Whether an answer's body is a readable event stream; a compressed one has no boundaries to be seen."""
    kind = b""
    for name, value in head.fields:
        lowered = name.lower()
        if lowered == b"content-encoding":
            return False
        if lowered == b"content-type":
            kind = value
    return kind.partition(b";")[0].strip().lower() == b"text/event-stream"
