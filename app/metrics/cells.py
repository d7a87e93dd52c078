"""Reading, adding up and writing the cells of a ring, torn-read-safe by their tags.

The writer of a cell clears its tag, writes, and sets the tag; a reader takes the tag, the body, and the tag
again, and accepts the body only between two equal tags of the tick it asked for. What is still counting in
the running second is read as it stands.
"""

from __future__ import annotations

import mmap
from array import array
from operator import add

from app.metrics import layout
from app.metrics.histogram import COARSE_BUCKETS

_WIDTH = len(layout.VERSION_LABELS)
_SUMS = len(layout.CELL_SUMS) * _WIDTH
_LONGEST = _SUMS - _WIDTH  # the maxima are the last of the sums


class Cell:
    """The figures of one tick, of all versions; zero until something is added."""

    __slots__ = ("counts", "sums")

    def __init__(self, sums: list[int] | None = None, counts: list[int] | None = None) -> None:
        """`sums`: bytes, total µs and longest µs, each for every version. `counts`: see
        `app.metrics.layout`.
        """
        self.sums = sums or [0] * _SUMS
        self.counts = counts or [0] * layout.CELL_COUNTS

    def add(self, other: Cell) -> None:
        """Adds another tick's, or another slot's, figures: maxima stay maxima, all else is summed."""
        longest = list(map(max, self.sums[_LONGEST:], other.sums[_LONGEST:]))
        self.sums = [*map(add, self.sums[:_LONGEST], other.sums[:_LONGEST]), *longest]
        self.counts = list(map(add, self.counts, other.counts))

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
