"""What all workers know of the requests that wait for a version's backends, so that they go in the order of arrival."""

from __future__ import annotations

from time import monotonic_ns
from typing import NamedTuple

from app.metrics import layout
from app.metrics.layout import S

__all__ = ["Elsewhere", "QueueWords"]


class Elsewhere(NamedTuple):
    """How many wait in other workers, and since when the first of them: monotonic µs, 0 when none does."""

    waiting: int
    oldest_us: int


class QueueWords:
    """One worker's view of one version's queue; made by `SharedMetrics.queue`.

    Each worker writes in its own slot alone. Those of one that hangs or died do not count.
    """

    __slots__ = ("_others", "_own_at", "_words")

    def __init__(self, words: memoryview[int], slots: int, own: int, version: int) -> None:
        self._words = words
        self._own_at = layout.queue_at(own, version)
        self._others = [
            (layout.slot_at(slot) + S["seen_us"], layout.queue_at(slot, version))
            for slot in range(slots)
            if slot != own
        ]

    def publish(self, waiting: int, oldest_us: int) -> None:
        """Says how many wait here, and since when the first of them."""
        self._words[self._own_at] = waiting
        self._words[self._own_at + 1] = oldest_us

    def elsewhere(self) -> Elsewhere:
        """What the other workers say."""
        words, waiting, oldest_us = self._words, 0, 0
        since = monotonic_ns() // 1000 - layout.FRESH_US
        for seen_at, at in self._others:
            if words[at] and words[seen_at] > since:
                waiting += words[at]
                oldest_us = min(oldest_us or layout.LARGEST, words[at + 1])
        return Elsewhere(waiting, oldest_us)
