"""The one writer of a slot: what the forwarder calls twice per request, at a few microseconds for both.

Everything here runs on the worker's hub thread and never yields, so `words[i] += 1` needs no lock. Every
store is one aligned 8-byte store through a cast memoryview, which a reader in another process sees whole or
not at all; `struct.pack_into` would zero the bytes first. What happened in which second is none of a worker's
business: the leader sees the counters grow (`app.metrics.leader`), which keeps this path short.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

from app.errors import CAUSES, FAILURES
from app.metrics import layout
from app.metrics.histogram import BUCKET_TABLE, BUCKETS, TABLED_US, bucket_index
from app.metrics.layout import C, S
from app.metrics.rows import EndedRing, cut_rows, failure_rows

_VERSIONS = range(len(layout.VERSION_LABELS))
_EMPTY_ROWS = bytes(layout.ROWS * layout.ROW_WORDS * layout.WORD)
_FIRST_BYTE, _UPSTREAM, _HELD = BUCKETS, 2 * BUCKETS, 3 * BUCKETS
_TEXT = layout.ROW_TEXT_BYTES


_FAILS = tuple(cause in FAILURES for cause in CAUSES)


class SlotWriter:
    """Counts one process's requests into its slot of the shared file; made by `SharedMetrics.claim_slot`.

    All times are whole microseconds; `now_us` is `time.monotonic_ns() // 1000`. `version` is 0 blue, 1 green,
    2 the router itself. Not thread-safe, and nothing may be forked from the process that expects to keep the
    slot.
    """

    __slots__ = (
        "_causes",
        "_cuts",
        "_failures",
        "_free",
        "_indexes",
        "_memory",
        "_release",
        "_slot_at",
        "_started",
        "_unclaimed",
        "_words",
        "slot",
    )

    def __init__(self, memory: mmap.mmap, words: memoryview[int], slot: int, release: Callable[[], None]) -> None:
        """`words` is the mapping in 8-byte words; `release` gives the slot's locks back."""
        self._memory, self._words, self._release = memory, words, release
        self.slot = slot
        self._slot_at = layout.slot_at(slot)
        blocks = [layout.version_at(slot, version) for version in _VERSIONS]
        self._started = tuple(block + C["started"] for block in blocks)
        self._unclaimed = tuple(block + C["unclaimed"] for block in blocks)
        self._indexes = tuple(map(_indexes_in, blocks))
        self._causes = tuple(block + layout.CAUSES_AT for block in blocks)
        rows_at = self._slot_at + layout.ROWS_AT
        self._cuts = EndedRing(memory, words, cut_rows(slot))
        self._failures = EndedRing(memory, words, failure_rows(slot))
        # A row's handle is its first word. The lowest row is used first: a quiet worker touches one page.
        self._free = [rows_at + row * layout.ROW_WORDS for row in reversed(range(layout.ROWS))]
        memory[rows_at * layout.WORD : rows_at * layout.WORD + len(_EMPTY_ROWS)] = _EMPTY_ROWS

    def start(self, version: int, method: bytes, target: bytes, now_us: int, request_id: bytes = b"") -> int:
        """Counts a request as in flight on a version and lists it; returns the row to give to `finish`.

        The row is -1 when 256 are taken: the request is counted all the same, only not listed. `target` is
        the request target as it came; its query is not written down. `request_id` has no space in it.
        """
        words = self._words
        words[self._started[version]] += 1
        if not self._free:
            return -1
        row = self._free.pop()
        query = target.find(b"?")
        text = (b"%b %b %b" % (request_id, method, target if query < 0 else target[:query]))[:_TEXT]
        at = (row << 3) + 16
        self._memory[at : at + len(text)] = text
        words[row + 1] = len(text) << 3 | version
        words[row] = now_us  # last: from here on the row counts
        return row

    def send_to(self, row: int, who: int) -> None:
        """Lists with a request in flight which of its version's backends it goes to (`backend_rows.who`)."""
        if row >= 0:
            words = self._words
            words[row + 1] |= layout.HAS_BACKEND
            words[row + layout.ROW_BACKEND] = who

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
        *,
        status: int,
        cause: int = 0,
        bytes_in: int = 0,
        bytes_out: int = 0,
        total_us: int = 0,
        first_byte_us: int = -1,
        upstream_us: int = -1,
    ) -> None:
        """Counts a request as done, once its last byte is sent or its connection is given up.

        `status` is what the client saw, 0…599 (499: it left before it saw one). `cause` is an index into `CAUSES`.
        Bytes are those of the bodies. `total_us` is from the request's head received; `first_byte_us` to the first
        byte of the answer's head sent; `upstream_us` from the request sent upstream to the answer's head
        received. A negative duration means "there was none" and is left out of its histogram.
        """
        words = self._words
        finished, statuses, into, out, sums, longest, histograms = self._indexes[version]
        words[statuses + status] += 1
        if cause or status >= 500:
            self._count_trouble(row, version, status, cause, total_us)
        if bytes_in:
            words[into] += bytes_in
        words[out] += bytes_out

        bucket = BUCKET_TABLE[total_us] if 0 <= total_us < TABLED_US else bucket_index(total_us)
        words[histograms + bucket] += 1
        if total_us > 0:  # a word cannot go below zero
            words[sums] += total_us
            if total_us > words[longest]:
                words[longest] = total_us
        if first_byte_us >= 0:
            bucket = BUCKET_TABLE[first_byte_us] if first_byte_us < TABLED_US else bucket_index(first_byte_us)
            words[histograms + _FIRST_BYTE + bucket] += 1
            words[sums + 1] += first_byte_us
        if upstream_us >= 0:
            bucket = BUCKET_TABLE[upstream_us] if upstream_us < TABLED_US else bucket_index(upstream_us)
            words[histograms + _UPSTREAM + bucket] += 1
            words[sums + 2] += upstream_us

        # Last: who sees this request gone from the ones in flight finds all of the above.
        words[finished] += 1
        if row >= 0:
            words[row] = 0
            self._free.append(row)

    def count_cut(self, row: int, version: int, cause: int, now_us: int) -> None:
        """Counts a request whose answer is broken off, and names it; `finish` comes next."""
        self._words[layout.version_at(self.slot, version) + C["cut"]] += 1
        if row >= 0:
            self._cuts.note(row, cause, now_us)

    def count_stream(self, version: int, end: str) -> None:
        """Counts a request as an event stream or tunnel, by its end: "handed_over", "finished" or "cut"."""
        self._words[layout.version_at(self.slot, version) + C[f"streams_{end}"]] += 1

    @property
    def words(self) -> memoryview[int]:
        """Where the slot lies."""
        return self._words

    def requests(self) -> int:
        """How many requests this slot has counted so far, those in flight included; for who budgets by traffic."""
        words = self._words
        return sum(words[at] for at in self._started) - sum(words[at] for at in self._unclaimed)

    def count_retry(self, version: int) -> None:
        """Counts one more attempt at a request that is already started."""
        self._words[layout.version_at(self.slot, version) + C["retries"]] += 1

    def hold(self, change: int) -> None:
        """Says that one more request is held back (1), or one less (-1)."""
        self._words[self._slot_at + S["holding"]] += change

    def divert(self, version: int | None, now_us: int) -> None:
        """Says whether requests for a version go to the standby at this moment; None when they go where they should."""
        words, at = self._words, self._slot_at + S["diversion"]
        if version is None:
            words[at] &= ~1
        elif words[at] & 7 != (version + 1) << 1 | 1:
            words[at] = now_us << 3 | (version + 1) << 1 | 1

    def count_held(self, version: int, held_us: int) -> None:
        """Counts a request that was held back for a while before it was sent or given up."""
        words, block = self._words, layout.version_at(self.slot, version)
        held_us = max(held_us, 0)
        words[block + layout.HISTOGRAMS_AT + _HELD + bucket_index(held_us)] += 1
        words[block + C["held_us"]] += held_us
        words[block + C["longest_held_us"]] = max(words[block + C["longest_held_us"]], held_us)
        words[block + C["held"]] += 1

    def count_queued(self, version: int, queued_us: int) -> None:
        """Counts a request that has waited for a while for room on a version's backends."""
        words, block = self._words, layout.version_at(self.slot, version)
        words[block + C["queued_us"]] += queued_us
        words[block + C["longest_queued_us"]] = max(words[block + C["longest_queued_us"]], queued_us)
        words[block + C["queued"]] += 1

    def count_lost_lines(self, count: int) -> None:
        """Counts lines of the access log that could not be written."""
        self._words[self._slot_at + S["lost_lines"]] += count

    def say_log_fault(self, is_fault: bool) -> None:
        """Says whether the access log cannot be written at this moment."""
        self._words[self._slot_at + S["log_fault"]] = int(is_fault)

    def count_login(self, outcome: int) -> None:
        """Counts what a login has said, as `app.logins.refusals.OUTCOMES` has it."""
        self._words[self._slot_at + layout.LOGINS_AT + outcome] += 1

    def note_state(self, serial: int) -> None:
        """Says by which state this process acts from now on."""
        self._words[self._slot_at + S["state_serial"]] = serial & layout.LARGEST

    def beat(self, now_us: int, state_fault: bool = False) -> None:
        """Says that this process is well, and whether it can read the state file; about once a second."""
        self._words[self._slot_at + S["seen_us"]] = now_us
        self._words[self._slot_at + S["state_fault"]] = int(state_fault)

    def close(self) -> None:
        """Gives the slot up; what was still in flight counts as aborted from now on."""
        self._release()

    def _count_trouble(self, row: int, version: int, status: int, cause: int, total_us: int) -> None:
        """The rare half of `finish`: causes and failures, and who the last of these were."""
        if cause:
            self._words[self._causes[version] + cause] += 1
        if status >= 500 or _FAILS[cause]:
            self._words[layout.version_at(self.slot, version) + C["failed"]] += 1
            if row >= 0:
                total_us = max(total_us, 0)
                ended_us = self._words[row] + total_us
                self._failures.note(row, cause if _FAILS[cause] else 0, ended_us, total_us << 10 | status)


def _indexes_in(block: int) -> tuple[int, int, int, int, int, int, int]:
    """Where `finish` counts in a version's block; of sums and histograms the first of three."""
    return (
        block + C["finished"],
        block + layout.STATUSES_AT,
        block + C["bytes_in"],
        block + C["bytes_out"],
        block + C["total_us"],
        block + C["longest_us"],
        block + layout.HISTOGRAMS_AT,
    )
