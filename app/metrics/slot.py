"""The one writer of a slot: what the forwarder calls twice per request, at a few microseconds for both.

Everything here runs on the worker's hub thread and never yields, so `words[i] += 1` needs no lock. Every
store is one aligned 8-byte (in ring cells also 4-byte) store through a cast memoryview, which a reader in
another process sees whole or not at all; `struct.pack_into` would zero the bytes first.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

from app.errors import CAUSES, RouterError
from app.metrics import layout
from app.metrics.histogram import BUCKET_TABLE, BUCKETS, COARSE_SHIFT, TABLED_US, bucket_index
from app.metrics.layout import C, S

_VERSIONS = range(len(layout.VERSION_LABELS))
_NO_SECOND = -1
_EMPTY_CELL = bytes(layout.CELL_WORDS * layout.WORD)
_EMPTY_ROWS = bytes(layout.ROWS * layout.ROW_WORDS * layout.WORD)
_FIRST_BYTE, _UPSTREAM = BUCKETS, 2 * BUCKETS
_TEXT = layout.ROW_TEXT_BYTES


def _failing_causes(cls: type[RouterError]) -> set[str]:
    """The causes with a 5xx of their own: with these a request failed, whatever status was already sent."""
    failing = {cls.cause} if cls.status >= 500 else set()
    return failing.union(*map(_failing_causes, cls.__subclasses__()))


_FAILS = tuple(cause in _failing_causes(RouterError) for cause in CAUSES)


class SlotWriter:
    """Counts one process's requests into its slot of the shared file; made by `SharedMetrics.claim_slot`.

    All times are whole microseconds; `now_us` is `time.monotonic_ns() // 1000`, read by the caller once per
    event. `version` is 0 blue, 1 green, 2 the router itself. Not thread-safe, and nothing may be forked
    from the process that expects to keep the slot.
    """

    __slots__ = (
        "_cell",
        "_free",
        "_lasting",
        "_memory",
        "_narrow",
        "_recent",
        "_release",
        "_second",
        "_slot_at",
        "_started",
        "_unclaimed",
        "_words",
        "slot",
    )

    def __init__(
        self,
        memory: mmap.mmap,
        words: memoryview[int],
        narrow: memoryview[int],
        slot: int,
        release: Callable[[], None],
    ) -> None:
        """`words` and `narrow` are the mapping in 8-byte and in 4-byte words; `release` gives the slot's
        locks back.
        """
        self._memory, self._words, self._narrow, self._release = memory, words, narrow, release
        self.slot = slot
        self._slot_at = layout.slot_at(slot)
        self._recent = layout.recent_ring(slot)
        self._second = _NO_SECOND
        blocks = [layout.version_at(slot, version) for version in _VERSIONS]
        self._started = tuple(block + C["started"] for block in blocks)
        self._unclaimed = tuple(block + C["unclaimed"] for block in blocks)
        self._lasting = tuple(map(_lasting_indexes, blocks))
        self._cell = _indexes_in_cell(self._recent.cell_at(0))
        rows_at = self._slot_at + layout.ROWS_AT
        # A row's handle is its first word; the lowest row is used first, so that a quiet worker touches one
        # page.
        self._free = [rows_at + row * layout.ROW_WORDS for row in reversed(range(layout.ROWS))]
        memory[rows_at * layout.WORD : rows_at * layout.WORD + len(_EMPTY_ROWS)] = _EMPTY_ROWS

    def start(self, version: int, method: bytes, target: bytes, now_us: int) -> int:
        """Counts a request as in flight on a version and lists it; returns the row to give to `finish`.

        The row is -1 when 256 are taken: the request is counted all the same, only not listed. `target` is
        the request target as it came; its query is not written down.
        """
        words = self._words
        words[self._started[version]] += 1
        if not self._free:
            return -1
        row = self._free.pop()
        query = target.find(b"?")
        text = (method + b" " + (target if query < 0 else target[:query]))[:_TEXT]
        at = (row << 3) + 16
        self._memory[at : at + len(text)] = text
        words[row + 1] = len(text) << 2 | version
        words[row] = now_us  # last: from here on the row counts
        return row

    def unclaim(self, row: int, version: int) -> None:
        """Takes a `start` back: in flight no more, and not counted as a request.

        For a claim given up before anything was sent, and at the end of a request that is excluded from the
        figures.
        """
        words = self._words
        words[self._unclaimed[version]] += 1
        if row >= 0:
            words[row] = 0
            self._free.append(row)

    def finish(
        self,
        row: int,
        version: int,
        status: int,
        cause: int,
        bytes_in: int,
        bytes_out: int,
        now_us: int,
        total_us: int,
        first_byte_us: int,
        upstream_us: int,
    ) -> None:
        """Counts a request as done, once its last byte is sent or its connection is given up.

        `status` is what the client saw, 0…599 (499: it left). `cause` is an index into `CAUSES`. Bytes are
        those of the bodies. `total_us` is from the request's head received; `first_byte_us` to the first
        byte of the answer's head sent; `upstream_us` from the request sent upstream to the answer's head
        received. A negative duration means "there was none" and is left out of its histogram.
        """
        words, narrow = self._words, self._narrow
        second = now_us // 1_000_000
        if second > self._second:
            self._open_cell(second)
        finished, statuses, into, out, sums, longest, histograms = self._lasting[version]
        cell_bytes, cell_sum, cell_longest, classes, buckets = self._cell[version]

        words[statuses + status] += 1
        narrow[classes + status // 100] += 1
        if cause or status >= 500:
            self._count_trouble(version, status, cause, classes)
        words[into] += bytes_in
        words[out] += bytes_out
        words[cell_bytes] += bytes_in + bytes_out

        bucket = BUCKET_TABLE[total_us] if 0 <= total_us < TABLED_US else bucket_index(total_us)
        words[histograms + bucket] += 1
        narrow[buckets + (bucket >> COARSE_SHIFT)] += 1
        if total_us > 0:  # a word cannot go below zero
            words[sums] += total_us
            words[cell_sum] += total_us
            if total_us > words[cell_longest]:
                self._raise_longest(cell_longest, longest, total_us)
        if first_byte_us >= 0:
            bucket = BUCKET_TABLE[first_byte_us] if first_byte_us < TABLED_US else bucket_index(first_byte_us)
            words[histograms + _FIRST_BYTE + bucket] += 1
            words[sums + 1] += first_byte_us
            if first_byte_us > words[longest + 1]:
                words[longest + 1] = first_byte_us
        if upstream_us >= 0:
            bucket = BUCKET_TABLE[upstream_us] if upstream_us < TABLED_US else bucket_index(upstream_us)
            words[histograms + _UPSTREAM + bucket] += 1
            words[sums + 2] += upstream_us
            if upstream_us > words[longest + 2]:
                words[longest + 2] = upstream_us

        words[finished] += (
            1  # last: who sees this request gone from the ones in flight finds all of the above
        )
        if row >= 0:
            words[row] = 0
            self._free.append(row)

    def count_retry(self, version: int, now_us: int) -> None:
        """Counts one more attempt at a request that is already started."""
        self._count_event(version, C["retries"], layout.CELL_RETRIES, now_us)

    def count_held(self, version: int, held_us: int, now_us: int) -> None:
        """Counts a request that was held back for a while before it was sent or given up."""
        self._count_event(version, C["held"], layout.CELL_HELD, now_us)
        self._words[layout.version_at(self.slot, version) + C["held_us"]] += max(held_us, 0)

    def beat(self, now_us: int, state_fault: bool = False) -> None:
        """Says that this process is well, and whether it can read the state file; about once a second."""
        self._words[self._slot_at + S["seen_us"]] = now_us
        self._words[self._slot_at + S["state_fault"]] = int(state_fault)

    def close(self) -> None:
        """Gives the slot up; what was still in flight counts as aborted from now on."""
        self._release()

    def _count_trouble(self, version: int, status: int, cause: int, classes: int) -> None:
        """The rare half of `finish`: causes and failures; `classes` is where the cell's counts begin."""
        block = layout.version_at(self.slot, version)
        if cause:
            self._words[block + layout.CAUSES_AT + cause] += 1
            self._narrow[classes + layout.CELL_CAUSES + cause] += 1
        if status >= 500 or _FAILS[cause]:
            self._words[block + C["failed"]] += 1
            self._narrow[classes + layout.CELL_FAILED] += 1

    def _raise_longest(self, cell_longest: int, longest: int, us: int) -> None:
        self._words[cell_longest] = us
        if us > self._words[longest]:
            self._words[longest] = us

    def _count_event(self, version: int, counter: int, cell_count: int, now_us: int) -> None:
        if now_us // 1_000_000 > self._second:
            self._open_cell(now_us // 1_000_000)
        self._words[layout.version_at(self.slot, version) + counter] += 1
        self._narrow[self._cell[version][3] + cell_count] += 1

    def _open_cell(self, second: int) -> None:
        """Makes a second's cell the current one, emptied unless an earlier owner began it just now.

        A request whose clock was read just before the turn of the second lands in the newer cell: a cell that
        readers may take for complete is never touched again.
        """
        at = self._recent.cell_at(second)
        if self._words[at] != second + 1:
            self._words[at] = 0
            self._memory[at * layout.WORD : (at + layout.CELL_WORDS) * layout.WORD] = _EMPTY_CELL
            self._words[at] = second + 1
        self._second = second
        self._cell = _indexes_in_cell(at)


def _lasting_indexes(block: int) -> tuple[int, int, int, int, int, int, int]:
    """Where `finish` counts in a version's block; of sums, maxima and histograms the first of three."""
    return (
        block + C["finished"],
        block + layout.STATUSES_AT,
        block + C["bytes_in"],
        block + C["bytes_out"],
        block + C["total_us"],
        block + C["total_max_us"],
        block + layout.HISTOGRAMS_AT,
    )


def _indexes_in_cell(at: int) -> tuple[tuple[int, int, int, int, int], ...]:
    """For every version, where `finish` counts in a cell: three in 8-byte words, then two in 4-byte words."""
    width = len(layout.VERSION_LABELS)
    counts = (at + layout.CELL_WORDS_BEFORE_COUNTS) * 2
    return tuple(
        (
            at + 1 + version,
            at + 1 + width + version,
            at + 1 + 2 * width + version,
            counts + version * layout.CELL_COUNTS_PER_VERSION,
            counts + version * layout.CELL_COUNTS_PER_VERSION + layout.CELL_BUCKETS,
        )
        for version in _VERSIONS
    )
