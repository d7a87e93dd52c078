"""How many client connections each worker holds, so that they can share new ones fairly."""

from __future__ import annotations

from app.metrics import layout
from app.metrics.layout import S

__all__ = ["Shares"]


class Shares:
    """One worker's view of the connections of all; made by `SharedMetrics.shares`.

    The stored word is the count plus one while the worker accepts, 0 while it does not.
    """

    def __init__(self, words: memoryview[int], slots: int, own: int) -> None:
        self._words = words
        self._own_at = layout.slot_at(own) + S["connections"]
        heads = (layout.slot_at(slot) for slot in range(slots) if slot != own)
        self._others = [(head + S["connections"], head + S["seen_us"]) for head in heads]

    def publish(self, count: int) -> None:
        """Says that this worker accepts and holds `count` connections."""
        self._words[self._own_at] = count + 1

    def withdraw(self) -> None:
        """Says that this worker does not accept (any more)."""
        self._words[self._own_at] = 0

    def least_of_others(self, now_us: int) -> int | None:
        """The fewest connections that another accepting worker holds; None when there is no other."""
        words = self._words
        since = now_us - layout.FRESH_US  # one that hangs does not accept
        counts = [words[count_at] for count_at, seen_at in self._others if words[count_at] and words[seen_at] > since]
        return min(counts) - 1 if counts else None
