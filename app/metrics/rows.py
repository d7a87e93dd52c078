"""Requests by name: the rows of those in flight, and a ring of those whose answer was broken off.

A row is written by its slot's owner. When an owner dies, its rows stay as they were: those requests are cut. Who
takes the slot over copies them into the ring before it empties the rows, so that a reader finds each of them in
one place or, for a moment, in both.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator

from app.errors import CAUSES
from app.metrics import layout
from app.metrics.layout import S
from app.metrics.snapshot import WORKER_DIED, CutRequest, InFlightRow

_ROW_BYTES = layout.ROW_WORDS * layout.WORD


class CutRing:
    """The ring of one slot, for its owner."""

    def __init__(self, memory: mmap.mmap, words: memoryview[int], slot: int) -> None:
        self._memory, self._words = memory, words
        self._slot_at = layout.slot_at(slot)
        self._serial = max(words[at] for at in _cut_rows(self._slot_at))

    def note(self, row: int, cause: int, now_us: int) -> None:
        """Copies the row of a request that is cut, for a cause by its index into `CAUSES`."""
        self._serial += 1
        words, at = self._words, _cut_rows(self._slot_at)[self._serial % layout.CUTS]
        words[at] = 0
        words[at + 1] = now_us
        words[at + 2] = cause
        source, copy = row * layout.WORD, (at + layout.CUT_ROW) * layout.WORD
        self._memory[copy : copy + _ROW_BYTES] = self._memory[source : source + _ROW_BYTES]
        words[at] = self._serial

    def inherit(self, now_us: int) -> None:
        """Notes what the dead owner of the slot had in flight; once, also when an heir dies at it."""
        noted = {self._row(at + layout.CUT_ROW) for at in _cut_rows(self._slot_at) if self._words[at]}
        for row in _rows(self._slot_at):
            if self._words[row] and self._row(row) not in noted:
                self.note(row, 0, now_us)

    def _row(self, row: int) -> bytes:
        length = min(self._words[row + 1] >> 2, layout.ROW_TEXT_BYTES)
        return self._memory[row * layout.WORD : (row + 2) * layout.WORD + length]


def live_rows(
    memory: mmap.mmap, words: memoryview[int], slot: int, is_alive: Callable[[int], bool], now_us: int
) -> Iterator[InFlightRow]:
    """What a slot's owner has in flight; nothing when it is dead."""
    rows = list(_rows_of(memory, words, slot))
    if not rows or not is_alive(slot):
        return
    pid = words[layout.slot_at(slot) + S["pid"]]
    for started_us, version, request_id, method, path in rows:
        age_s = max(0.0, (now_us - started_us) / 1e6)
        yield InFlightRow(layout.VERSION_LABELS[version], method, path, age_s, pid, request_id)


def cut_requests(
    memory: mmap.mmap, words: memoryview[int], slot: int, is_alive: Callable[[int], bool]
) -> Iterator[CutRequest]:
    """What was cut in a slot; a request may come twice."""
    # The rows first: should somebody take the slot over meanwhile, they are in the ring by the time we look there.
    generation_at = layout.slot_at(slot) + S["generation"]
    generation = words[generation_at]
    left = [] if is_alive(slot) else list(_rows_of(memory, words, slot))
    if words[generation_at] == generation:
        for started_us, version, request_id, method, path in left:
            yield CutRequest(layout.VERSION_LABELS[version], request_id, method, path, WORKER_DIED, started_us)
    yield from _cuts_of(memory, words, slot)


def _rows_of(memory: mmap.mmap, words: memoryview[int], slot: int) -> Iterator[tuple[int, int, str, str, str]]:
    """What is in a slot's rows: started_us, version, request id, method and path."""
    rows = _rows(layout.slot_at(slot))
    started = words[rows.start : rows.stop : rows.step].tolist()
    for row, started_us in zip(rows, started, strict=True):
        if started_us:
            mark, text = words[row + 1], _text(memory, words, row)
            # A row is free, or taken by another request since: its start time says so.
            if words[row] == started_us:
                yield started_us, mark & 3, *text


def _cuts_of(memory: mmap.mmap, words: memoryview[int], slot: int) -> Iterator[CutRequest]:
    """What stands in a slot's ring."""
    rows = _cut_rows(layout.slot_at(slot))
    serials = words[rows.start : rows.stop : rows.step].tolist()
    for at, serial in ((at, serial) for at, serial in zip(rows, serials, strict=True) if serial):
        at_us, cause, _, started_us, mark = words[at + 1 : at + layout.CUT_ROW + 2].tolist()
        request_id, method, path = _text(memory, words, at + layout.CUT_ROW)
        if words[at] == serial:
            why = CAUSES[cause] if cause else WORKER_DIED
            name = layout.VERSION_LABELS[mark & 3]
            yield CutRequest(name, request_id, method, path, why, started_us, at_us)


def _text(memory: mmap.mmap, words: memoryview[int], row: int) -> tuple[str, str, str]:
    """The request id, method and path of a row."""
    at, length = (row + 2) * layout.WORD, min(words[row + 1] >> 2, layout.ROW_TEXT_BYTES)
    request_id, _, rest = memory[at : at + length].decode("latin-1").partition(" ")
    method, _, path = rest.partition(" ")
    return request_id, method, path


def _rows(slot_at: int) -> range:
    """The first words of a slot's rows."""
    first = slot_at + layout.ROWS_AT
    return range(first, first + layout.ROWS * layout.ROW_WORDS, layout.ROW_WORDS)


def _cut_rows(slot_at: int) -> range:
    """The first words of the cut rows."""
    first = slot_at + layout.CUTS_AT
    return range(first, first + layout.CUTS * layout.CUT_WORDS, layout.CUT_WORDS)
