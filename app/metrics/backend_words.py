"""What all workers know of the backends of one version, so that they judge and choose alike."""

from __future__ import annotations

from collections.abc import Iterable
from operator import add, or_
from time import monotonic_ns
from typing import NamedTuple

from app.address import MAX_BACKENDS, Address
from app.metrics import layout
from app.metrics.backend_rows import who
from app.metrics.layout import C, S

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

    __slots__ = (
        "_block",
        "_columns",
        "_elder",
        "_elders",
        "_in_flight_at",
        "_live",
        "_looked_us",
        "_own_at",
        "_requests_at",
        "_seen_at",
        "_totals_at",
        "_words",
        "own",
    )

    def __init__(self, words: memoryview[int], slots: int, own: int, version: int) -> None:
        self._words = words
        self._own_at = tuple(layout.backends_at(own, version, column) for column in layout.BACKEND_COLUMNS)
        self._totals_at = tuple(layout.backend_totals_at(own, version, column) for column in layout.BACKEND_TOTALS)
        self._in_flight_at, self._requests_at = self._own_at[0], self._totals_at[1]
        self._block = layout.version_at(own, version)
        self._elder, self._elders = 0, 0  # a backend, and how many requests it has from when it was the only one
        others = [slot for slot in range(slots) if slot != own]
        self._columns = [
            tuple(layout.backends_at(slot, version, column) for column in layout.BACKEND_COLUMNS) for slot in others
        ]
        self._seen_at = [layout.slot_at(slot) + S["seen_us"] for slot in others]
        self._live: list[tuple[int, ...]] = []
        self._looked_us = 0
        self.own = [0] * MAX_BACKENDS

    def name(self, addresses: Iterable[Address]) -> None:
        """Says which backends these are, in their order.

        What is counted and said of a backend stays its own, wherever it stood in the list before.
        """
        words, (who_at, *totals_at) = self._words, self._totals_at
        moved = (*totals_at, *self._own_at[1:])
        now = [who(str(address)) for address in addresses]
        now += [0] * (MAX_BACKENDS - len(now))
        before = words[who_at : who_at + MAX_BACKENDS].tolist()
        if now == before:
            return
        known = {one: [words[at + number] for at in moved] for number, one in enumerate(before) if one}
        for number, one in enumerate(now):
            words[who_at + number] = 0  # meanwhile it is nobody's
            for at, value in zip(moved, known.get(one, [0] * len(moved)), strict=True):
                words[at + number] = value
            words[who_at + number] = one
        is_alone = not any(before[1:])
        elders, whose = (self._uncounted() if is_alone else self._elders), before[0 if is_alone else self._elder]
        self._count_elders(0)
        if whose and whose in now:
            self._elder = now.index(whose)
            self._count_elders(elders)

    def settle(self) -> None:
        """Notes which requests have ended that are from before there were several backends; outside of a claim."""
        if self._elders:
            self._count_elders(min(self._elders, self._uncounted()))

    def _uncounted(self) -> int:
        """How many of this worker's requests on the version count on no backend; of one alone none is counted."""
        words, block = self._words, self._block
        started, *ended = (words[block + C[name]] for name in ("started", "finished", "unclaimed", "aborted"))
        return max(started - sum(ended) - sum(self.own) + self._elders, 0)

    def _count_elders(self, elders: int) -> None:
        own, elder = self.own, self._elder
        own[elder] += elders - self._elders
        self._elders = elders
        self._words[self._in_flight_at + elder] = own[elder]

    def began(self, backend: int) -> None:
        """One more request of this worker is in flight on a backend, and counted."""
        own, words = self.own, self._words
        own[backend] += 1
        words[self._in_flight_at + backend] = own[backend]
        words[self._requests_at + backend] += 1

    def reserved(self, backend: int) -> None:
        """One more is in flight; `counted` follows where it is sent."""
        own = self.own
        own[backend] += 1
        self._words[self._in_flight_at + backend] = own[backend]

    def counted(self, backend: int) -> None:
        """One that was reserved is sent."""
        self._words[self._requests_at + backend] += 1

    def ended(self, backend: int) -> None:
        """One less in flight."""
        own = self.own
        own[backend] -= 1
        self._words[self._in_flight_at + backend] = own[backend]

    def failed(self, backend: int) -> None:
        """One more gateway failure of a backend."""
        self._words[self._totals_at[2] + backend] += 1

    def say_out(self, backend: int, word: int) -> None:
        """Says until when a backend is left alone."""
        self._words[self._own_at[1] + backend] = word

    def say_unwell(self, backend: int, is_unwell: bool) -> None:
        """Says how its health checks go; for the leading worker."""
        self._words[self._own_at[2] + backend] = int(is_unwell)

    def say_checked(self, address: Address, is_ok: bool) -> None:
        """Says how a health check went; of one that was named when it began, and is no more, nothing."""
        who_at, one = self._totals_at[0], who(str(address))
        named = self._words[who_at : who_at + MAX_BACKENDS].tolist()
        if one in named:
            self.say_unwell(named.index(one), not is_ok)

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
