"""What all workers know of the backends of one version, so that they judge and choose alike."""

from __future__ import annotations

from operator import add, or_
from time import monotonic_ns
from typing import NamedTuple

from app.address import MAX_BACKENDS
from app.metrics import layout
from app.metrics.layout import S

__all__ = ["BackendWords", "Verdicts"]

_LOOK_US = 100_000
"""How often it is looked which workers are well."""


class Verdicts(NamedTuple):
    """What the workers say together, by backend.

    Attributes:
        out: until when it is left alone, as `app.routing.backends` writes it; 0 where it never was.
        unwell: 1 where its health checks fail.
    """

    out: list[int]
    unwell: list[int]


class BackendWords:
    """One worker's view of one version's backends; made by `SharedMetrics.backends`.

    Each worker writes in its own slot alone. Those of one that hangs or died do not count.

    Attributes:
        own: this worker's requests in flight, by backend.
    """

    __slots__ = ("_columns", "_live", "_looked_us", "_own_at", "_seen_at", "_words", "own")

    def __init__(self, words: memoryview[int], slots: int, own: int, version: int) -> None:
        self._words = words
        self._own_at = tuple(layout.backends_at(own, version, column) for column in layout.BACKEND_COLUMNS)
        others = [slot for slot in range(slots) if slot != own]
        self._columns = [
            tuple(layout.backends_at(slot, version, column) for column in layout.BACKEND_COLUMNS) for slot in others
        ]
        self._seen_at = [layout.slot_at(slot) + S["seen_us"] for slot in others]
        self._live: list[tuple[int, ...]] = []
        self._looked_us = 0
        self.own = [0] * MAX_BACKENDS

    def began(self, backend: int) -> None:
        """One more request of this worker is in flight on a backend."""
        own = self.own
        own[backend] += 1
        self._words[self._own_at[0] + backend] = own[backend]

    def ended(self, backend: int) -> None:
        """One less."""
        own = self.own
        own[backend] -= 1
        self._words[self._own_at[0] + backend] = own[backend]

    def say_out(self, backend: int, word: int) -> None:
        """Says until when a backend is left alone."""
        self._words[self._own_at[1] + backend] = word

    def say_unwell(self, backend: int, is_unwell: bool) -> None:
        """Says how its health checks go; for the leading worker."""
        self._words[self._own_at[2] + backend] = int(is_unwell)

    def in_flight(self, count: int) -> list[int]:
        """The requests in flight on each of the first `count` backends, of all workers that were found well."""
        words, found = self._words, self.own[:count]
        for in_flight, _, _ in self._live:
            found = list(map(add, found, words[in_flight : in_flight + count].tolist()))
        return found

    def look(self) -> None:
        """Looks which workers are well: the others do not count."""
        words = self._words
        self._looked_us = monotonic_ns() // 1000
        since = self._looked_us - layout.FRESH_US
        self._live = [at for at, seen in zip(self._columns, self._seen_at, strict=True) if words[seen] > since]

    def verdicts(self, count: int) -> Verdicts:
        """What these workers say of the first `count` backends."""
        words = self._words
        if monotonic_ns() // 1000 - self._looked_us > _LOOK_US:
            self.look()
        _, out_at, unwell_at = self._own_at
        out, unwell = words[out_at : out_at + count].tolist(), words[unwell_at : unwell_at + count].tolist()
        for _, out_at, unwell_at in self._live:
            out = list(map(max, out, words[out_at : out_at + count].tolist()))
            unwell = list(map(or_, unwell, words[unwell_at : unwell_at + count].tolist()))
        return Verdicts(out, unwell)
