"""A value that costs something, worked out anew as seldom as it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Throttled"]

T = TypeVar("T")


class Throttled(Generic[T]):
    """A value that is worked out anew as often as its cost allows.

    Summing the metrics takes half a millisecond for each slot that was ever used, and a large router has many:
    what a look costs may take one part in `SHARE` of the time. The processor's time is meant: on a busy machine,
    a look that had to wait would keep an old value for long, just when something happens.
    """

    SHARE = 1000

    def __init__(self, make: Callable[[], T], clock: Callable[[], float], work: Callable[[], float] = time.thread_time):
        self._make = make
        self._clock = clock
        self._work = work
        self._made: tuple[T, float] | None = None

    def value(self) -> T:
        """The value, at most so old as it cost."""
        if self._made is None or self._clock() >= self._made[1]:
            began = self._work()
            value = self._make()
            # A tenth of a second early, or a look that comes a millisecond too soon would make it wait for the next.
            self._made = value, self._clock() - 0.1 + max(1.0, (self._work() - began) * self.SHARE)
        return self._made[0]
