"""What one worker does for all: keeps the history's rings and writes down the health probes.

Just after the turn of each second the leader adds up all slots and takes off what the sum was a second before:
that is what happened in the second, and goes into the seconds ring; each ten of them, into the tens ring. The
sum itself, the *tally*, is kept in the file, so that the next leader goes on where this one dies, and that a
reader can tell what came after the last folded second. `folded_second` moves last; what a leader left
unfinished, the next one does again.
"""

from __future__ import annotations

import mmap
import time
from typing import NamedTuple

from app.metrics import layout
from app.metrics.cells import read_cell, spread, together, write_cell, write_tally
from app.metrics.file import let_go_of_history
from app.metrics.layout import H
from app.metrics.reader import Reader


class Turn(NamedTuple):
    """Requests for a version go to the standby from now on, or back to it."""

    version: int
    is_back: bool


class Leader:
    """The writer of everything in the file that is not a slot."""

    def __init__(self, memory: mmap.mmap, words: memoryview[int], narrow: memoryview[int], reader: Reader) -> None:
        self._memory, self._words, self._narrow, self._reader = memory, words, narrow, reader

    def fold(self, now_us: int) -> None:
        """Brings the rings up to the last complete second; call it just after each turn of a second."""
        self._words[H["leader_seen_us"]] = now_us
        newest = now_us // 1_000_000 - 1
        folded = self._words[H["folded_second"]]
        if newest <= folded:
            return
        tally, in_flight = self._reader.tally()
        for second, cell in spread(tally.since(self._reader.folded_tally()), folded, newest):
            cell.set_in_flight(in_flight)
            write_cell(self._memory, self._words, layout.SECONDS, second, cell)
            if second % 10 == 9:
                self._fold_ten(second // 10)
        serial = self._words[H["tally_serial"]] + 1
        write_tally(self._memory, self._words, serial, tally)
        self._words[H["tally_serial"]] = serial
        self._words[H["folded_second"]] = newest

    def _fold_ten(self, ten: int) -> None:
        seconds = range(ten * 10, ten * 10 + 10)
        cells = (read_cell(self._words, self._narrow, layout.SECONDS, second) for second in seconds)
        write_cell(self._memory, self._words, layout.TENS, ten, together(cell for cell in cells if cell is not None))
        let_go_of_history(self._memory)

    def write_probe(self, version: int, at: float, ok: bool, status: int, latency_us: int, reason: str) -> None:
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

    def follow_failover(self) -> list[Turn]:
        """What has changed since the last look at the slots, each of which diverts for itself; told once for all.

        A diversion that began and ended between two looks is told, too. One that was interrupted between two looks
        is one: a version that is well by its health checks only is tried again each second.
        """
        words, told = self._words, self._words[H["failover_from"]]
        latest, away_from = self._reader.latest_diversion()  # first: what begins meanwhile is told the next time
        diverted = self._reader.diverted_from()
        turns = []
        if told and told - 1 not in diverted:
            turns.append(Turn(told - 1, is_back=True))
            words[H["failover_from"]] = 0
        if diverted and not words[H["failover_from"]]:
            turns.append(self._left(diverted[0]))
            words[H["failover_from"]] = diverted[0] + 1
        elif not diverted and latest != words[H["diversion_seen"]] and away_from + 1 != told:
            turns += [self._left(away_from), Turn(away_from, is_back=True)]
        words[H["diversion_seen"]] = latest
        return turns

    def _left(self, version: int) -> Turn:
        self._words[H["failover_at_us"]] = time.time_ns() // 1000
        self._words[H["failovers"]] += 1
        return Turn(version, is_back=False)
