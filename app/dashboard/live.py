"""One frame a second for all viewers of a worker, told to each as server-sent events.

While nobody watches, nothing is computed. A viewer that is slow gets the newest frame when it is ready for one,
and nothing is kept for it in between.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from logging import getLogger

import gevent
from gevent.event import Event
from gevent.lock import RLock

__all__ = ["Frame", "Live", "LiveStream"]

logger = getLogger(__name__)

PERIOD_S = 1.0
MOST_STREAMS = 32
"""Per worker. Each costs a connection and a few kilobytes a second, the computing is done once for all."""

STREAM_S = 600.0
"""A stream ends after this time and the browser comes back at once: viewers spread over the workers again, and
a worker that cannot tell its streams of its end does not wait for them for ever."""

RETRY_MS = 1000


@dataclass(frozen=True)
class Frame:
    """The page's fragments at one second, and those of them that the last frame had not.

    Their JSON is made when the first viewer asks for it, once for all.
    """

    serial: int
    made_at: float
    fragments: Mapping[str, str]
    changed: Mapping[str, str]

    @cached_property
    def full(self) -> bytes:
        """All fragments as JSON."""
        return _json(self.fragments)

    @cached_property
    def delta(self) -> bytes:
        """The changed fragments as JSON."""
        return _json(self.changed)


class Live:
    """Makes frames and knows who watches.

    Args:
        make: gives the fragments of this moment; called by one greenlet at a time.
        most_streams: more are refused.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        make: Callable[[], Mapping[str, str]],
        most_streams: int = MOST_STREAMS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._most_streams = most_streams
        self._clock = clock
        self._frame: Frame | None = None
        self._making = RLock()
        self._next = Event()
        self._streams: set[LiveStream] = set()
        self._is_ticking = False
        self.is_closing = False

    @property
    def newest(self) -> Frame | None:
        """The newest frame, however old it is."""
        return self._frame

    def frame(self) -> Frame:
        """The newest frame, made now when it is more than a second old."""
        with self._making:
            last = self._frame
            if last is None or self._clock() - last.made_at >= PERIOD_S * 0.9:
                self._frame = last = self._made(last)
            return last

    def _made(self, last: Frame | None) -> Frame:
        made_at = self._clock()
        fragments = dict(self._make())
        known = last.fragments if last is not None else {}
        changed = {name: text for name, text in fragments.items() if known.get(name) != text}
        serial = last.serial + 1 if last is not None else 1
        return Frame(serial, made_at, fragments, changed)

    def open(self) -> LiveStream | None:
        """A stream of frames for one viewer; None when there are too many, or the worker stops."""
        if self.is_closing or len(self._streams) >= self._most_streams:
            return None
        stream = LiveStream(self, self._clock() + STREAM_S)
        self._streams.add(stream)
        if not self._is_ticking:
            self._is_ticking = True
            gevent.spawn(self._tick)
        return stream

    def _tick(self) -> None:
        """Makes frames for as long as somebody watches."""
        try:
            while self._streams:
                began = self._clock()
                try:
                    self.frame()
                except Exception:  # the viewers see a page that stands still, and this says why
                    logger.exception("the dashboard's frame could not be made")
                self._announce()
                gevent.sleep(max(0.0, PERIOD_S - (self._clock() - began)))
        finally:
            self._is_ticking = False

    def _announce(self) -> None:
        announced, self._next = self._next, Event()
        announced.set()

    def wait(self) -> None:
        """Until there is a new frame, or the streams are to end."""
        self._next.wait()

    def leave(self, stream: LiveStream) -> None:
        """Forgets a stream."""
        self._streams.discard(stream)

    def close(self) -> None:
        """Ends all streams: the worker stops, and their viewers will find another."""
        self.is_closing = True
        self._announce()


class LiveStream:
    """The frames for one viewer as chunks of an event stream; closing it twice is harmless."""

    def __init__(self, live: Live, ends_at: float) -> None:
        self._live = live
        self._ends_at = ends_at
        self._clock = live._clock
        self._serial = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """The next frame that this viewer has not seen: what changed, or all when it has missed one."""
        live = self._live
        if not self._serial:
            frame = live.frame()
            self._serial = frame.serial
            return b"retry: %d\n" % RETRY_MS + _event(frame.serial, frame.full)
        while not live.is_closing and self._clock() < self._ends_at:
            live.wait()
            newest = live.newest
            if newest is not None and newest.serial != self._serial and not live.is_closing:
                is_next = newest.serial == self._serial + 1
                self._serial = newest.serial
                return _event(newest.serial, newest.delta if is_next else newest.full)
        self.close()
        raise StopIteration

    def close(self) -> None:
        """The viewer has gone, or shall."""
        self._live.leave(self)


def _json(fragments: Mapping[str, str]) -> bytes:
    return json.dumps(fragments, ensure_ascii=False, separators=(",", ":")).encode()


def _event(serial: int, data: bytes) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (serial, data)
