"""Requests by name: the rows of those in flight, and rings of those whose answer was broken off and that failed.

A row is written by its slot's owner. When an owner dies, its rows stay as they were: those requests are cut. Who
takes the slot over copies them into the ring before it empties the rows, so that a reader finds each of them in
one place or, for a moment, in both.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.errors import CAUSES
from app.metrics import layout
from app.metrics.layout import S
from app.metrics.snapshot import WORKER_DIED, CutRequest, FailedRequest, InFlightRow

_ROW_BYTES = layout.ROW_WORDS * layout.WORD


class EndedRing:
    """A ring of one slot, for its owner; `rows` are the first words of its rows."""

    def __init__(self, memory: mmap.mmap, words: memoryview[int], rows: range) -> None:
        self._memory, self._words, self._rows = memory, words, rows
        self._serial = max(words[at] for at in rows)

    def note(self, row: int, cause: int, now_us: int, outcome: int = 0) -> None:
        """Copies the row of a request, for a cause by its index into `CAUSES`."""
        self._serial += 1
        words, at = self._words, self._rows[self._serial % layout.ENDED]
        words[at] = 0
        words[at + 1] = now_us
        words[at + 2] = cause
        words[at + 3] = outcome
        source, copy = row * layout.WORD, (at + layout.ENDED_ROW) * layout.WORD
        self._memory[copy : copy + _ROW_BYTES] = self._memory[source : source + _ROW_BYTES]
        words[at] = self._serial

    @property
    def taken(self) -> list[int]:
        """The first words of the copies in it."""
        return [at + layout.ENDED_ROW for at in self._rows if self._words[at]]


def inherit(memory: mmap.mmap, words: memoryview[int], slot: int, now_us: int) -> None:
    """Notes as cut what the dead owner of a slot had in flight; once, also when an heir dies at it."""

    def content(row: int) -> bytes:
        length = min(words[row + 1] >> 3, layout.ROW_TEXT_BYTES)
        return memory[row * layout.WORD : (row + 2) * layout.WORD + length]

    ring = EndedRing(memory, words, cut_rows(slot))
    noted = set(map(content, ring.taken))
    for row in _rows(layout.slot_at(slot)):
        if words[row] and content(row) not in noted:
            ring.note(row, 0, now_us)


def live_rows(
    memory: mmap.mmap, words: memoryview[int], slot: int, is_alive: Callable[[int], bool], now_us: int
) -> Iterator[InFlightRow]:
    """What a slot's owner has in flight; nothing when it is dead."""
    rows = list(_rows_of(memory, words, slot))
    if not rows or not is_alive(slot):
        return
    pid = words[layout.slot_at(slot) + S["pid"]]
    for started_us, (version, request_id, method, path, backend) in rows:
        age_s = max(0.0, (now_us - started_us) / 1e6)
        yield InFlightRow(version, method, path, age_s, pid, request_id, backend)


def cut_requests(
    memory: mmap.mmap, words: memoryview[int], slot: int, is_alive: Callable[[int], bool]
) -> Iterator[CutRequest]:
    """What was cut in a slot; a request may come twice."""
    # The rows first: should somebody take the slot over meanwhile, they are in the ring by the time we look there.
    generation_at = layout.slot_at(slot) + S["generation"]
    generation = words[generation_at]
    left = [] if is_alive(slot) else list(_rows_of(memory, words, slot))
    if words[generation_at] == generation:
        for started_us, request in left:
            yield CutRequest(*request, WORKER_DIED, started_us)
    yield from _cuts_of(memory, words, slot)


class _Listed(NamedTuple):
    """A request as a row names it; `backend` is 0 where its version has one."""

    version: str
    request_id: str
    method: str
    path: str
    backend: int


def _rows_of(memory: mmap.mmap, words: memoryview[int], slot: int) -> Iterator[tuple[int, _Listed]]:
    """What is in a slot's rows, each with its start in µs."""
    rows = _rows(layout.slot_at(slot))
    started = words[rows.start : rows.stop : rows.step].tolist()
    for row, started_us in zip(rows, started, strict=True):
        if started_us:
            request = _listed(memory, words, row)
            # A row is free, or taken by another request since: its start time says so.
            if words[row] == started_us:
                yield started_us, request


def _cuts_of(memory: mmap.mmap, words: memoryview[int], slot: int) -> Iterator[CutRequest]:
    """What stands in a slot's ring of cut requests."""
    for one in _ended(memory, words, cut_rows(slot)):
        why = CAUSES[one.cause] if one.cause else WORKER_DIED
        yield CutRequest(*one.request, why, one.started_us, one.at_us)


def failed_requests(
    memory: mmap.mmap, words: memoryview[int], slot: int, clock_us: Callable[[int], float]
) -> Iterator[FailedRequest]:
    """What stands in a slot's ring of failures; `clock_us` makes wall time of monotonic µs."""
    for one in _ended(memory, words, failure_rows(slot)):
        status, took_ms = one.outcome & 0x3FF, (one.outcome >> 10) / 1000
        cause = CAUSES[one.cause] if one.cause else ""
        yield FailedRequest(*one.request, status, cause, clock_us(one.at_us), took_ms)


class _EndedRow(NamedTuple):
    """A row of a ring."""

    at_us: int
    cause: int
    outcome: int
    started_us: int
    request: _Listed


def _ended(memory: mmap.mmap, words: memoryview[int], rows: range) -> Iterator[_EndedRow]:
    """What stands in a ring."""
    serials = words[rows.start : rows.stop : rows.step].tolist()
    for at, serial in ((at, serial) for at, serial in zip(rows, serials, strict=True) if serial):
        at_us, cause, outcome, started_us = words[at + 1 : at + layout.ENDED_ROW + 1].tolist()
        request = _listed(memory, words, at + layout.ENDED_ROW)
        if words[at] == serial:
            yield _EndedRow(at_us, cause, outcome, started_us, request)


def _listed(memory: mmap.mmap, words: memoryview[int], row: int) -> _Listed:
    """The request of a row."""
    at, mark, backend, room = (row + 2) * layout.WORD, words[row + 1], 0, layout.ROW_TEXT_BYTES
    if mark & layout.HAS_BACKEND:
        backend, room = words[row + layout.ROW_BACKEND], room - layout.WORD
    request_id, _, rest = memory[at : at + min(mark >> 3, room)].decode("latin-1").partition(" ")
    method, _, path = rest.partition(" ")
    return _Listed(layout.VERSION_LABELS[mark & 3], request_id, method, path, backend)


def _rows(slot_at: int) -> range:
    """The first words of a slot's rows."""
    first = slot_at + layout.ROWS_AT
    return range(first, first + layout.ROWS * layout.ROW_WORDS, layout.ROW_WORDS)


def cut_rows(slot: int) -> range:
    """The first words of a slot's ring of cut requests."""
    return _ring(layout.slot_at(slot) + layout.CUTS_AT)


def failure_rows(slot: int) -> range:
    """The first words of a slot's ring of failures."""
    return _ring(layout.slot_at(slot) + layout.FAILURES_AT)


def _ring(first: int) -> range:
    return range(first, first + layout.ENDED * layout.ENDED_WORDS, layout.ENDED_WORDS)
