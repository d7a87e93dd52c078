"""Reading, adding up and writing the cells of a ring, torn-read-safe by their tags.

The writer of a cell clears its tag, writes, and sets the tag; a reader takes the tag, the body, and the tag
again, and accepts the body only between two equal tags of the tick it asked for.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable, Iterator
from operator import add, sub

from app.metrics import layout
from app.metrics.histogram import COARSE_BUCKETS

_WIDTH = len(layout.VERSION_LABELS)
_SUMS = len(layout.CELL_SUMS) * _WIDTH


class Cell:
    """The figures of one tick, of all versions; zero until something is added."""

    __slots__ = ("counts", "sums")

    def __init__(self, sums: list[int] | None = None, counts: list[int] | None = None) -> None:
        """`sums`: bytes and total µs, each for every version. `counts`: see `app.metrics.layout`."""
        self.sums = sums or [0] * _SUMS
        self.counts = counts or [0] * layout.CELL_COUNTS

    def add(self, other: Cell) -> None:
        """Adds another tick's figures."""
        self.sums = list(map(add, self.sums, other.sums))
        self.counts = list(map(add, self.counts, other.counts))

    def since(self, earlier: Cell) -> Cell:
        """What came on top of an earlier tally; never less than nothing."""
        return Cell(_growth(self.sums, earlier.sums), _growth(self.counts, earlier.counts))

    def part(self, number: int, of: int) -> Cell:
        """The share of one of so many equal ticks; the shares add up to the whole."""
        if of == 1:
            return self
        sums, counts = ([_share(v, number, of) for v in values] for values in (self.sums, self.counts))
        return Cell(sums, counts)

    def of_sum(self, name: str, version: int) -> int:
        """One of `CELL_SUMS` for a version."""
        return self.sums[layout.CELL_SUMS.index(name) * _WIDTH + version]

    def of_counts(self, version: int, first: int, how_many: int = 1) -> list[int]:
        """Some of a version's counts, by their offset (`CELL_…` in the layout)."""
        at = version * layout.CELL_COUNTS_PER_VERSION + first
        return self.counts[at : at + how_many]

    def requests(self, version: int) -> int:
        """How many requests of a version were finished."""
        return sum(self.of_counts(version, 0, len(layout.CODE_CLASSES)))

    def failed(self, version: int) -> int:
        """How many of them failed."""
        return self.of_counts(version, layout.CELL_FAILED)[0]

    def in_flight(self, version: int) -> int:
        """How many were in flight when the leader looked."""
        return self.of_counts(version, layout.CELL_IN_FLIGHT)[0]

    def set_in_flight(self, in_flight: list[int]) -> None:
        """Puts the leader's sample in, one number for every version."""
        for version, number in enumerate(in_flight):
            self.counts[version * layout.CELL_COUNTS_PER_VERSION + layout.CELL_IN_FLIGHT] = number

    def buckets(self, version: int) -> list[int]:
        """The coarse latency histogram of a version."""
        return self.of_counts(version, layout.CELL_BUCKETS, COARSE_BUCKETS)


def together(cells: Iterable[Cell]) -> Cell:
    """Several ticks as one: figures are added up, and of in flight the highest counts."""
    total, highest = Cell(), [0] * _WIDTH
    for cell in cells:
        total.add(cell)
        highest = [max(most, cell.in_flight(version)) for version, most in enumerate(highest)]
    total.set_in_flight(highest)
    return total


def _growth(now: list[int], before: list[int]) -> list[int]:
    return [max(0, more) for more in map(sub, now, before)]


def _share(value: int, number: int, of: int) -> int:
    return value * (number + 1) // of - value * number // of


MOST_SPREAD_S = 60
"""Over a longer time nobody can say when things happened: they count for its last second."""


def spread(news: Cell, folded: int, newest: int) -> Iterator[tuple[int, Cell]]:
    """What came after the second `folded`, shared out evenly over the seconds up to `newest`; often just one.

    Gives (second, cell) pairs, of the last ten minutes at most.
    """
    seconds = newest - folded
    for second in range(max(folded + 1, newest - layout.SECOND_CELLS + 1), newest + 1):
        if seconds <= MOST_SPREAD_S:
            yield second, news.part(second - folded - 1, seconds)
        else:
            yield second, news if second == newest else Cell()


def read_cell(words: memoryview[int], narrow: memoryview[int], ring: layout.Ring, tick: int) -> Cell | None:
    """The figures a ring has for a tick; None when it has none, or when the cell was reused meanwhile."""
    at = ring.cell_at(tick)
    if words[at] != tick + 1:
        return None
    counts_at = (at + layout.CELL_WORDS_BEFORE_COUNTS) * 2
    sums = words[at + 1 : at + 1 + _SUMS].tolist()
    counts = narrow[counts_at : counts_at + layout.CELL_COUNTS].tolist()
    return Cell(sums, counts) if words[at] == tick + 1 else None


def write_cell(memory: mmap.mmap, words: memoryview[int], ring: layout.Ring, tick: int, cell: Cell) -> None:
    """Puts a tick's figures into a ring in place of what stood there."""
    at = ring.cell_at(tick)
    body = array("Q", cell.sums).tobytes() + array("I", cell.counts).tobytes()
    words[at] = 0
    memory[(at + 1) * layout.WORD : (at + 1) * layout.WORD + len(body)] = body
    words[at] = tick + 1


def read_tally(words: memoryview[int], serial: int) -> Cell | None:
    """A tally by its serial number; None when it has been written over since."""
    at = layout.tally_at(serial)
    figures = words[at + 1 : at + layout.TALLY_WORDS].tolist()
    return Cell(figures[:_SUMS], figures[_SUMS:]) if words[at] == serial else None


def write_tally(memory: mmap.mmap, words: memoryview[int], serial: int, tally: Cell) -> None:
    """Puts a tally over the one before the last."""
    at = layout.tally_at(serial)
    body = array("Q", [*tally.sums, *tally.counts]).tobytes()
    words[at] = 0
    memory[(at + 1) * layout.WORD : (at + 1) * layout.WORD + len(body)] = body
    words[at] = serial
