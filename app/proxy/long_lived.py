"""The requests that have no end by themselves, WebSockets, streams of EventSources, tunnels, and their hand-over.

When another version becomes active, those of the old one are ended a few at a time, so that their clients come
back, to the new one, and not all at once. The worker looks once a second; a request costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import uniform
from time import monotonic
from typing import Protocol

import gevent

from app.settings.tables.router_settings import RouterConfig

__all__ = ["Handover", "LongLived", "Stream"]

GOODBYE_S = 2.0
"""What both sides may take to close after they have been told to."""

_LOOK_S = 1.0


class Stream(Protocol):
    """A request without an end.

    Attributes:
        version: the index of its version.
        is_over: its last byte is sent, and only the goodbye is awaited.
    """

    version: int

    @property
    def is_over(self) -> bool: ...

    def hand_over(self) -> None:
        """Ends it at its next boundary; does nothing to one without boundaries."""

    def cut(self) -> None:
        """Ends it at once."""


@dataclass(frozen=True, slots=True)
class Handover:
    """How the streams of a version that is not active any more are ended.

    Attributes:
        is_on: they are; otherwise they stay until somebody else ends them.
        window_s: their ends are spread over so many seconds.
        deadline_s: after so many seconds, what is left is cut.
    """

    is_on: bool
    window_s: float
    deadline_s: float

    @classmethod
    def of(cls, config: RouterConfig) -> Handover:
        """As configured. All is over shortly before a deploy's drain would give up waiting."""
        if config.hold.handover != "graceful":
            return cls(config.hold.handover == "cut", 0.0, GOODBYE_S)
        limit_s = config.drain_timeout or config.hold.handover_window
        return cls(True, min(config.hold.handover_window, 0.8 * limit_s), 0.9 * limit_s)

    def within(self, limit_s: float) -> Handover:
        """The same, over before a worker that stops cuts whatever is left."""
        return Handover(self.is_on, min(self.window_s, 0.5 * limit_s), 0.9 * limit_s)


@dataclass(slots=True, eq=False)
class _Ending:
    """When a stream is to be handed over and cut, in monotonic seconds."""

    hand_over_at: float
    cut_at: float
    is_asked: bool = False


class LongLived:
    """The long-lived requests of one worker."""

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        spread: Callable[[float, float], float] = uniform,
        later: Callable[[float, Callable[[], None]], object] = gevent.spawn_later,
    ) -> None:
        self._clock = clock
        self._spread = spread
        self._later = later
        self._streams: dict[Stream, _Ending | None] = {}
        self._leaving: Handover | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: Stream) -> None:
        """A stream has begun."""
        self._streams[stream] = None

    def discard(self, stream: Stream) -> None:
        """A stream has ended, one way or another."""
        self._streams.pop(stream, None)

    def leave(self, handover: Handover) -> None:
        """The worker stops: from now on the streams of every version are handed over."""
        self._leaving = handover
        self.look(None, handover)

    def look(self, active: int | None, handover: Handover, canary: int | None = None) -> None:
        """Ends what is due. To be called once a second.

        Args:
            active: the index of the active version, if there is one.
            canary: that of the other one, while it has a share of the requests.
        """
        if self._leaving is not None:
            handover, active, canary = self._leaving, None, None
        elif active is None:
            return
        if not handover.is_on:
            return
        now = self._clock()
        for stream, ending in list(self._streams.items()):
            if stream.version in (active, canary):
                self._streams[stream] = None  # it is wanted again, after a roll-back say
            elif ending is None:
                hand_over_at = now + self._spread(0.0, handover.window_s)
                self._end(stream, _Ending(hand_over_at, now + handover.deadline_s), now)
            else:
                self._end(stream, ending, now)

    def _end(self, stream: Stream, ending: _Ending, now: float) -> None:
        self._streams[stream] = ending
        if now >= ending.cut_at:
            stream.cut()
        elif not ending.is_asked and ending.hand_over_at < now + _LOOK_S:
            ending.is_asked = True
            self._later(max(0.0, ending.hand_over_at - now), lambda: self._hand_over(stream, ending))

    def _hand_over(self, stream: Stream, ending: _Ending) -> None:
        if self._streams.get(stream) is not ending:
            return
        stream.hand_over()
        self._later(GOODBYE_S, lambda: self._say_no_more(stream))

    def _say_no_more(self, stream: Stream) -> None:
        if stream in self._streams and stream.is_over:
            stream.cut()
