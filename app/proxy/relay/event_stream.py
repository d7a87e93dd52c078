"""An event stream on its way to a client that comes back for more, so that it can be ended between two events."""

from __future__ import annotations

from typing import Any

import gevent

from app.errors import HandoverCut
from app.protocol.server_sent_events import EventTracker
from app.transport.endpoint import Endpoint

__all__ = ["EventStream", "Interrupted"]


class Interrupted(Exception):
    """Raised in a stream that waits for its next event when it is to end."""


class EventStream:
    """What has gone to the client of an event stream, and whether it is to end.

    Args:
        version: the index of its version.
        source: where the events come from.
        first: what has been sent already.

    Attributes:
        is_over: it has come to its early end.
    """

    __slots__ = ("_greenlet", "_is_asked", "_source", "_tracker", "is_over", "version")

    def __init__(self, version: int, source: Endpoint, first: bytes) -> None:
        self.version = version
        self._source = source
        self._greenlet: Any = gevent.getcurrent()  # gevent has no types
        self._tracker = EventTracker()
        self._tracker.feed(first)
        self._is_asked = False
        self.is_over = False

    def take(self, data: bytes) -> bytes:
        """What may be sent of the next bytes: all, or up to the end of the event under way if it is to end."""
        if self._is_asked:
            end = self._tracker.end_in(data)
            if end >= 0:
                self.is_over = True
                return data[:end]
        self._tracker.feed(data)
        return data

    def hand_over(self) -> None:
        """Ends the stream now if it is between two events, else with the event under way."""
        self._is_asked = True
        if self._tracker.at_boundary:
            self._source.interrupt(Interrupted())

    def cut(self) -> None:
        """Ends the stream wherever it is."""
        gevent.kill(self._greenlet, HandoverCut("the version is not active any more"))
