"""What all workers know of the backends of one version, so that they judge and choose alike."""

from __future__ import annotations

from operator import add, or_
from time import monotonic_ns
from typing import NamedTuple

from app.metrics import layout
from app.metrics.layout import S

__all__ = ["BackendWords", "Seen"]

_LOOK_US = 100_000
"""How often it is looked which workers are well."""


class Seen(NamedTuple):
    """What the workers say together, by backend.

    Attributes:
        in_flight: requests in flight, of all workers.
        out: until when it is left alone, monotonic µs, and how many times in a row by now, as `app.routing.backends`
            writes them; 0 where it never was.
        unwell: 1 where its health checks fail.
    """

    in_flight: list[int]
    out: list[int]
    unwell: list[int]


class BackendWords:
    """One worker's view of one version's backends; made by `SharedMetrics.backends`.

    Each worker writes in its own slot alone. Those of one that hangs or died do not count.
    """

    __slots__ = ("_columns", "_live", "_looked_us", "_own", "_seen_at", "_words")

    def __init__(self, words: memoryview[int], slots: int, own: int, version: int) -> None:
        self._words = words
        self._own = tuple(layout.backends_at(own, version, column) for column in layout.BACKEND_COLUMNS)
        self._columns = [
            tuple(layout.backends_at(slot, version, column) for column in layout.BACKEND_COLUMNS)
            for slot in range(slots)
            if slot != own
        ]
        self._seen_at = [layout.slot_at(slot) + S["seen_us"] for slot in range(slots) if slot != own]
        self._live: list[tuple[int, ...]] = []
        self._looked_us = 0

    def began(self, backend: int) -> None:
        """One more request of this worker is in flight on a backend."""
        self._words[self._own[0] + backend] += 1

    def ended(self, backend: int) -> None:
        """One less."""
        self._words[self._own[0] + backend] -= 1

    def own_in_flight(self, backend: int) -> int:
        """How many requests of this worker are in flight on a backend."""
        return self._words[self._own[0] + backend]

    def say_out(self, backend: int, word: int) -> None:
        """Says until when a backend is left alone."""
        self._words[self._own[1] + backend] = word

    def say_unwell(self, backend: int, is_unwell: bool) -> None:
        """Says how its health checks go; for the leading worker."""
        self._words[self._own[2] + backend] = int(is_unwell)

    def seen(self, count: int) -> Seen:
        """What the workers that are well say of the first `count` backends at this moment."""
        words = self._words
        now_us = monotonic_ns() // 1000
        if now_us - self._looked_us > _LOOK_US:
            self._looked_us = now_us
            since = now_us - layout.FRESH_US
            self._live = [at for at, seen in zip(self._columns, self._seen_at, strict=True) if words[seen] > since]
        flying, out, unwell = (words[at : at + count].tolist() for at in self._own)
        for columns in self._live:
            flying = list(map(add, flying, words[columns[0] : columns[0] + count].tolist()))
            out = list(map(max, out, words[columns[1] : columns[1] + count].tolist()))
            unwell = list(map(or_, unwell, words[columns[2] : columns[2] + count].tolist()))
        return Seen(flying, out, unwell)
