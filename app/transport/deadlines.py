"""Deadlines for many waits of one length, without a timer object per wait."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from gevent import get_hub

from app.transport.limits import Expired

__all__ = ["Deadlines"]


class Deadlines:
    """Ends waits that have lasted `seconds`; 0 never ends one.

    All waits here are equally long, so the one that began first ends first: a dict in insertion order is the
    queue, its first key is all that the timer ever looks at, and adding or removing costs one dict operation.
    A `gevent.Timeout` costs several microseconds for the same.

    Args:
        seconds: how long a wait may last.
        on_expired: what is done, in the hub, with a wait that is over. As a rule the wait is a greenlet, and
            `Expired` is raised in it.
    """

    __slots__ = ("_armed", "_on_expired", "_timer", "_waits", "seconds")

    def __init__(self, seconds: float, on_expired: Callable[[Any], None] | None = None) -> None:
        self.seconds = seconds
        self._on_expired = on_expired or self._raise_in
        self._waits: dict[Any, float] = {}  # Any: gevent's greenlets have no types
        self._timer: Any = None
        self._armed = False

    def _raise_in(self, greenlet: Any) -> None:
        greenlet.throw(Expired(self))

    def add(self, wait: Any) -> None:
        """Starts the time of `wait`, which must not be here already."""
        if self.seconds:
            self._waits[wait] = monotonic() + self.seconds
            if not self._armed:
                self._arm(self.seconds)

    def discard(self, wait: Any) -> None:
        """Forgets `wait`, if it is here. The timer is left to find out by itself."""
        self._waits.pop(wait, None)

    def _arm(self, seconds: float) -> None:
        self._armed = True
        if self._timer is not None:
            self._timer.close()
        # Not referenced: a pending deadline alone must not keep the loop of an idle process alive.
        self._timer = get_hub().loop.timer(max(seconds, 0.001), ref=False)
        self._timer.start(self._tick)

    def _tick(self) -> None:
        self._armed = False
        now = monotonic()
        over: list[Any] = []
        for wait, deadline in self._waits.items():
            if deadline > now:
                self._arm(deadline - now)
                break
            over.append(wait)
        for wait in over:
            if self._waits.pop(wait, None) is not None:
                self._on_expired(wait)
