"""Deadlines for many waits of one length, without a timer or a look at the clock per wait."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

from gevent import get_hub

from app.transport.limits import Expired

__all__ = ["Deadlines"]

_TICKS = 64
"""A period is cut into this many ticks: a wait ends 0 to 1/64 of the period late (30 s: half a second), never early."""

_SHORTEST_TICK_S = 0.001


class Deadlines:
    """Ends waits that have lasted `seconds`; 0 never ends one.

    All waits here are equally long, so the one that began first ends first: a dict in insertion order is the
    queue, and its first entries are all that a tick ever looks at. A wait notes the number of the running tick,
    so it costs two dict operations; a `gevent.Timeout` costs several microseconds. Without waits nothing ticks.

    Args:
        seconds: how long a wait may last.
        on_expired: what is done, in the hub, with a wait that is over. As a rule the wait is a greenlet, and
            `Expired` is raised in it.
    """

    __slots__ = ("_is_ticking", "_on_expired", "_tick_number", "_tick_s", "_ticks", "_timer", "_timeouts", "seconds")

    def __init__(self, seconds: float, on_expired: Callable[[Any], None] | None = None) -> None:
        self._on_expired = on_expired or self._raise_in
        self._timeouts: dict[Any, int] = {}  # Any: gevent's greenlets have no types
        self._lasts(seconds)
        self._tick_number = 0
        self._is_ticking = False
        self._timer: Any = None

    def _lasts(self, seconds: float) -> None:
        self.seconds = seconds
        self._tick_s = max(seconds / _TICKS, _SHORTEST_TICK_S)
        self._ticks = ceil(seconds / self._tick_s)

    def _raise_in(self, greenlet: Any) -> None:
        greenlet.throw(Expired(self))

    def add(self, wait: Any) -> None:
        """Starts the time of `wait`, which must not be here already."""
        if self._is_ticking:
            self._timeouts[wait] = self._tick_number
        elif self.seconds:
            # It begins with the tick, not somewhere in it: at a tick's end it is over, and need not wait for one more.
            self._timeouts[wait] = self._tick_number - 1
            self._start_ticking()

    def discard(self, wait: Any) -> None:
        """Forgets `wait`, if it is here."""
        self._timeouts.pop(wait, None)

    def shorten(self, seconds: float) -> None:
        """From now on a wait lasts `seconds`; those that are here begin anew."""
        waits = list(self._timeouts)
        self._timeouts.clear()
        self._stop_ticking()
        self._lasts(seconds)
        for wait in waits:
            self.add(wait)

    def end_oldest(self, count: int) -> None:
        """Ends up to `count` waits before their time, the longest first; none that began in the last two ticks."""
        over: list[Any] = []
        for wait, began in self._timeouts.items():
            if began >= self._tick_number - 1 or len(over) == count:
                break
            over.append(wait)
        for wait in over:
            if self._timeouts.pop(wait, None) is not None:
                self._on_expired(wait)

    def _start_ticking(self) -> None:
        self._is_ticking = True
        # Not referenced: a pending deadline alone must not keep the loop of an idle process alive.
        self._timer = get_hub().loop.timer(self._tick_s, self._tick_s, ref=False)
        self._timer.start(self._tick)

    def _stop_ticking(self) -> None:
        if self._is_ticking:
            self._is_ticking = False
            self._timer.stop()
            self._timer.close()

    def _tick(self) -> None:
        self._tick_number += 1
        if not self._timeouts:
            self._stop_ticking()
            return
        latest_over = self._tick_number - self._ticks - 1
        over: list[Any] = []
        for wait, began in self._timeouts.items():
            if began > latest_over:
                break
            over.append(wait)
        for wait in over:
            if self._timeouts.pop(wait, None) is not None:
                self._on_expired(wait)
