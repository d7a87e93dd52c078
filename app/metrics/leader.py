"""What one worker does for all: keeps the history's rings and writes down the health probes.

Each second the leader adds up what all slots counted in a second that is over and puts the sum into the
seconds ring; each ten seconds, the ten before into the tens ring. `folded_second` in the header moves last,
so a leader that dies in between is followed by one that does the same second again, with the same result.
"""

from __future__ import annotations

import mmap

from app.metrics import layout
from app.metrics.cells import Cell, read_cell, write_cell
from app.metrics.layout import H
from app.metrics.reader import Reader

SETTLE_S = 2
"""A second is folded when it is over for at least one more: a writer may have read its clock just before
the turn.
"""
_MOST_AT_ONCE = layout.RECENT_CELLS - SETTLE_S - 1  # older seconds no longer stand in the slots


class Leader:
    """The writer of everything in the file that is not a slot."""

    def __init__(
        self, memory: mmap.mmap, words: memoryview[int], narrow: memoryview[int], reader: Reader
    ) -> None:
        self._memory, self._words, self._narrow, self._reader = memory, words, narrow, reader
        self._samples: dict[int, list[int]] = {}

    def fold(self, now_us: int) -> None:
        """Brings the rings up to date; call it about once a second."""
        self._words[H["leader_seen_us"]] = now_us
        now_s = now_us // 1_000_000
        in_flight = [self._reader.in_flight(version) for version in range(len(layout.VERSION_LABELS))]
        self._samples[now_s] = in_flight
        newest = now_s - SETTLE_S
        first = max(self._words[H["folded_second"]] + 1, newest - _MOST_AT_ONCE + 1)
        for second in range(first, newest + 1):
            self._fold_second(second, self._samples.pop(second, in_flight))

    def _fold_second(self, second: int, in_flight: list[int]) -> None:
        cell = self._reader.recent(second)
        cell.set_in_flight(in_flight)
        write_cell(self._memory, self._words, layout.SECONDS, second, cell)
        if second % 10 == 9:
            self._fold_ten(second // 10)
        self._words[H["folded_second"]] = second

    def _fold_ten(self, ten: int) -> None:
        """Adds ten seconds up; in flight is the highest of their samples."""
        total, highest = Cell(), [0] * len(layout.VERSION_LABELS)
        for second in range(ten * 10, ten * 10 + 10):
            cell = read_cell(self._words, self._narrow, layout.SECONDS, second)
            if cell is not None:
                total.add(cell)
                highest = [max(most, cell.in_flight(version)) for version, most in enumerate(highest)]
        total.set_in_flight(highest)
        write_cell(self._memory, self._words, layout.TENS, ten, total)

    def write_probe(
        self, version: int, at: float, ok: bool, status: int, latency_us: int, reason: str
    ) -> None:
        """Writes a probe over the oldest of a version's eight."""
        serials = [self._words[layout.probe_at(version, row)] for row in range(layout.PROBES)]
        serial = max(serials) + 1
        words, row = self._words, layout.probe_at(version, serial % layout.PROBES)
        text = reason.encode()[: layout.PROBE_REASON_BYTES]
        words[row] = 0
        words[row + 1] = int(at * 1_000_000)
        words[row + 2] = ok << 16 | status
        words[row + 3] = latency_us
        words[row + 4] = len(text)
        start = (row + 5) * layout.WORD
        self._memory[start : start + len(text)] = text
        words[row] = serial
