"""Event streams (WHATWG HTML, "Server-sent events"): who comes back for one, and where its events end."""

from __future__ import annotations

import re

from app.protocol.fields import Field, split_list
from app.protocol.request import RequestHead
from app.protocol.response import ResponseHead

__all__ = ["EventTracker", "is_event_stream", "may_end_early"]

_EVENT_STREAM = b"text/event-stream"

_OF_A_CALL = (b"authorization", b"accept-language")
"""These tell a call from an EventSource that leaves `Cache-Control` out: the token of a program, and what `fetch` of
browsers and of Node sends by itself."""

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
    if _value(head.fields, b"content-encoding"):
        return False
    return _value(head.fields, b"content-type").partition(b";")[0].strip().lower() == _EVENT_STREAM


def may_end_early(request: RequestHead, answer: ResponseHead) -> bool:
    """Whether an event stream may be ended between two events, because its client comes back for more.

    That is what an `EventSource` does, and nobody else: for who has called an API, a stream that ends well is the
    whole answer. An EventSource asks with `GET` for `text/event-stream` and nothing else, has no way to send a body
    or a `Content-Type`, goes past every cache, which Fetch writes as `Cache-Control: no-cache`, and comes back after a
    200 only (WHATWG HTML, "The EventSource interface"). Simple ones leave `Cache-Control` out: they are believed
    unless something speaks against it.
    """
    asked = request.fields
    if request.method != b"GET" or request.has_body or answer.status != 200 or not is_event_stream(answer):
        return False
    wanted = split_list(_value(asked, b"accept"))
    if len(wanted) != 1 or wanted[0].partition(b";")[0].rstrip() != _EVENT_STREAM or _value(asked, b"content-type"):
        return False
    caching = _value(asked, b"cache-control")
    return b"no-cache" in split_list(caching) if caching else not any(_value(asked, name) for name in _OF_A_CALL)


def _value(fields: list[Field], wanted: bytes) -> bytes:
    """The values of a field as one list (RFC 9110 §5.3), b"" without it."""
    return b", ".join([value for name, value in fields if name.lower() == wanted])
