"""The byte map of the shared metrics file: little-endian 8-byte words, every one but the clients' with a single writer.

    word 0     header            512 words (one 4096-byte page), fields of HEADER
               seconds ring      600 cells, one per second, written by the leader
               tens ring         2160 cells, one per ten seconds (six hours), written by the leader
               tallies           2 × a tag and the words of a tally, written by the leader
               probes            2 versions × 8 rows × 16 words, written by the leader
               clients           8192 sets × 4 places × 2 words, written by all workers, without a lock: those of a
                                 split that keeps each at its version (`app.metrics.split_clients`)
    page       slot 0            one worker's own part, see below
    page       slot 1 …

    slot       head              16 words, fields of SLOT
               blue              counters, causes, statuses, four histograms
               green             the same
               router            the same, for requests that never got as far as a version
               rows              256 rows × 24 words: what is in flight
               cuts              32 rows × 28 words: the last requests whose answer was broken off
               failures          32 rows × 28 words: the last requests that failed
               backend totals    2 versions × 3 columns × 16 words: of each backend who it is, the requests begun and
                                 the gateway failures; as the counters, they stay when the slot changes hands
               logins            64 words: how often logins said each of OUTCOMES; these stay as well
               split             2 versions × 2 units × 4 words: what became of the requests and of the clients that
                                 were shared out between the versions, fields of SPLIT_COUNTS; these stay as well
               backends          2 versions × 3 columns × 16 words: of each backend the requests in flight, until when
                                 it is left alone, and whether its health checks fail; 0 where a version has but one
               queues            2 versions × 2 words: how many requests wait for room, since when the first of them
               seen              2 versions × 1 word: of how many different clients it has had requests in a split

    cell       tag               second + 1 (or ten + 1); 0 while the cell is being written or empty
               bytes, total_us   8-byte words, one for each of the three versions
               counts            4-byte words; for each version: 6 code classes, failed, in flight, retries,
                                 held, 64 causes, 92 coarse latency buckets

    tally      the figures of a cell in 8-byte words, counted from the making of the file up to the last
               folded second

    row        started_us        monotonic µs; 0 when the row is free
               mark              text length << 3 | whether it went to one of several backends << 2 | version
               text              up to 176 bytes: request id, space, method, space, path without its query; where it
                                 went to one of several backends, who that is takes the last word

    ended row  serial            1, 2, 3 …; 0 while the row is being written or empty
    (cuts and  at_us             monotonic µs: when it ended, or was found in a dead worker's slot
    failures)  cause             index into CAUSES; 0 of a cut: its worker died; 0 of a failure: the application's own
               outcome           of a failure: total µs << 10 | status
               row               as it was in flight

    probe row  serial            1, 2, 3 …; 0 while the row is being written or empty
               at_us, ok << 16 | status, latency_us, reason length, reason (88 bytes of UTF-8)

Slots come last: a file that is to have more gets them behind these, and then a higher number in its header. The
header carries a checksum of every name and size in this module: a file written under another map is never read
with this one.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from app.address import MAX_BACKENDS
from app.errors import CAUSES
from app.logins.refusals import OUTCOMES
from app.metrics.histogram import BUCKETS, COARSE_BUCKETS
from app.state.model import VERSIONS

MAGIC = int.from_bytes(b"BGROUTER", "little")
LAYOUT_VERSION = 9
WORD = 8
LARGEST = 2**64 - 1
PAGE_WORDS = 512

VERSION_LABELS = (*VERSIONS, "router")
"""Index 0, 1: the two versions. Index 2: the router's own answers, when no version was picked."""

HEADER = (
    "magic",
    "layout_version",
    "checksum",
    "slots",
    "boot_id_high",  # the monotonic clock, and so every tag and age in the file, only means something
    "boot_id_low",  # within one boot of the machine
    "created_at_us",  # wall clock
    "up_since_us",  # monotonic: when a router was started and none was running
    "leader_pid",
    "leader_seen_us",  # monotonic
    "folded_second",  # the last second that stands in the seconds ring
    "tally_serial",  # which of the tallies goes with it
    "failovers",  # how often requests went over to the standby
    "failover_from",  # the version that they left, plus one; 0 while they go where they should
    "failover_at_us",  # wall clock: when that began
    "diversion_seen",  # the latest of the slots' diversions when the leader last looked, >> 1
)
SLOT = (
    "generation",  # how often the slot was claimed; 0 = never
    "pid",
    "role",  # index into ROLES
    "claimed_at_us",  # wall clock
    "claimed_us",  # monotonic
    "seen_us",  # monotonic: the owner's heartbeat
    "state_fault",  # 1 while the owner cannot read the state file
    "base_requests",  # what the slot had counted when its owner claimed it
    "connections",  # client connections the owner has, plus one; 0 while it does not accept
    "holding",  # requests the owner holds back at this moment
    "diversion",  # the last: when it began, monotonic, << 3 | from which version, plus one, << 1 | whether it goes on
    "state_serial",  # of the state that the owner acts by, modulo 2**64
    "log_fault",  # 1 while the owner cannot write the access log
    "lost_lines",  # of it, by all owners
)
COUNTERS = (
    # In this order: who reads upwards never finds more ended than started.
    "finished",
    "unclaimed",  # started but given back, or excluded from the figures
    "aborted",  # in flight in earlier owners of this slot when they died
    "started",
    "failed",  # the client got a 5xx or a broken-off answer
    "cut",  # the client got a broken-off answer
    "retries",
    "held",
    "bytes_in",
    "bytes_out",
    "total_us",
    "first_byte_us",
    "upstream_us",
    "held_us",
    "longest_us",  # the longest total_us
    "longest_held_us",
    "streams_handed_over",  # event streams and tunnels, by how they ended
    "streams_finished",
    "streams_cut",
    "queued",  # waited for room on a backend
    "queued_us",
    "longest_queued_us",
)
LATENCIES = ("total", "first_byte", "upstream", "held")
ROLES = ("worker", "script")

CAUSE_ROOM = 64
STATUS_ROOM = 600
SLOT_HEAD_WORDS = 16
ROWS = 256
ROW_WORDS = 24
ROW_TEXT_BYTES = (ROW_WORDS - 2) * WORD
ROW_BACKEND = ROW_WORDS - 1
HAS_BACKEND = 1 << 2
ENDED = 32
"""So many of the last cut requests are remembered, and as many of those that failed."""
ENDED_ROW = 4
"""Where the copy of the row begins in an ended row."""
ENDED_WORDS = ENDED_ROW + ROW_WORDS
SECOND_CELLS = 600
TEN_CELLS = 2160
PROBES = 8
PROBE_WORDS = 16
FRESH_US = 2_500_000
"""A worker that has missed two heartbeats is taken for hung."""
PROBE_REASON_BYTES = (PROBE_WORDS - 5) * WORD

# A cell: words first, then 4-byte counts.
CELL_SUMS = ("bytes", "total_us")
CELL_WORDS_BEFORE_COUNTS = 1 + len(CELL_SUMS) * len(VERSION_LABELS)
CODE_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
CELL_FAILED = len(CODE_CLASSES)
CELL_IN_FLIGHT = CELL_FAILED + 1  # a sample at the end of the second
CELL_RETRIES = CELL_FAILED + 2
CELL_HELD = CELL_FAILED + 3
CELL_CAUSES = CELL_FAILED + 4
CELL_BUCKETS = CELL_CAUSES + CAUSE_ROOM
CELL_COUNTS_PER_VERSION = CELL_BUCKETS + COARSE_BUCKETS
CELL_COUNTS = CELL_COUNTS_PER_VERSION * len(VERSION_LABELS)
CELL_WORDS = CELL_WORDS_BEFORE_COUNTS + CELL_COUNTS // 2

# Offsets inside a version's block of a slot, in words.
CAUSES_AT = len(COUNTERS)
STATUSES_AT = CAUSES_AT + CAUSE_ROOM
HISTOGRAMS_AT = STATUSES_AT + STATUS_ROOM
VERSION_WORDS = HISTOGRAMS_AT + len(LATENCIES) * BUCKETS

# Offsets inside a slot.
ROWS_AT = SLOT_HEAD_WORDS + len(VERSION_LABELS) * VERSION_WORDS
CUTS_AT = ROWS_AT + ROWS * ROW_WORDS
FAILURES_AT = CUTS_AT + ENDED * ENDED_WORDS
BACKEND_TOTALS_AT = FAILURES_AT + ENDED * ENDED_WORDS
BACKEND_TOTALS = ("who", "requests", "failures")
LOGINS_AT = BACKEND_TOTALS_AT + len(VERSIONS) * len(BACKEND_TOTALS) * MAX_BACKENDS
LOGIN_ROOM = 64
SPLIT_AT = LOGINS_AT + LOGIN_ROOM
SPLIT_UNITS = ("requests", "clients")
SPLIT_COUNTS = ("completed", "failed", "slow50", "slow95")
SPLIT_VERSION_WORDS = len(SPLIT_UNITS) * len(SPLIT_COUNTS)
BACKENDS_AT = SPLIT_AT + len(VERSIONS) * SPLIT_VERSION_WORDS
BACKEND_COLUMNS = ("in_flight", "out", "unwell")
BACKENDS_WORDS = len(VERSIONS) * len(BACKEND_COLUMNS) * MAX_BACKENDS
QUEUES_AT = BACKENDS_AT + BACKENDS_WORDS
QUEUE_WORDS = 2
SEEN_AT = QUEUES_AT + len(VERSIONS) * QUEUE_WORDS
SLOT_WORDS = -(-(SEEN_AT + len(VERSIONS)) // PAGE_WORDS) * PAGE_WORDS

# Offsets inside the file.
SECONDS_AT = PAGE_WORDS
TENS_AT = SECONDS_AT + SECOND_CELLS * CELL_WORDS
TALLIES_AT = TENS_AT + TEN_CELLS * CELL_WORDS
TALLY_WORDS = 1 + len(CELL_SUMS) * len(VERSION_LABELS) + CELL_COUNTS
PROBES_AT = TALLIES_AT + 2 * TALLY_WORDS
CLIENTS_AT = PROBES_AT + 2 * PROBES * PROBE_WORDS
CLIENT_SETS = 8192
CLIENT_WAYS = 4
SLOTS_AT = -(-(CLIENTS_AT + CLIENT_SETS * CLIENT_WAYS * 2) // PAGE_WORDS) * PAGE_WORDS

H = {name: index for index, name in enumerate(HEADER)}
"""Header field → word in the file."""
S = {name: index for index, name in enumerate(SLOT)}
"""Slot head field → word in the slot."""
C = {name: index for index, name in enumerate(COUNTERS)}
"""Counter → word in a version's block."""


def file_bytes(slots: int) -> int:
    """The length in bytes of a file with the given number of slots."""
    return (SLOTS_AT + slots * SLOT_WORDS) * WORD


def slot_at(slot: int) -> int:
    """The first word of a slot."""
    return SLOTS_AT + slot * SLOT_WORDS


def version_at(slot: int, version: int) -> int:
    """The first word of a version's block in a slot."""
    return slot_at(slot) + SLOT_HEAD_WORDS + version * VERSION_WORDS


def backends_at(slot: int, version: int, column: str) -> int:
    """The first word of a column of the backends of version 0 or 1 in a slot."""
    row = version * len(BACKEND_COLUMNS) + BACKEND_COLUMNS.index(column)
    return slot_at(slot) + BACKENDS_AT + row * MAX_BACKENDS


def queue_at(slot: int, version: int) -> int:
    """The first word of the queue of version 0 or 1 in a slot."""
    return slot_at(slot) + QUEUES_AT + version * QUEUE_WORDS


def split_at(slot: int, version: int) -> int:
    """The first word of what is counted of version 0 or 1 in a split."""
    return slot_at(slot) + SPLIT_AT + version * SPLIT_VERSION_WORDS


def backend_totals_at(slot: int, version: int, column: str) -> int:
    """The first word of a column of what is counted of them."""
    row = version * len(BACKEND_TOTALS) + BACKEND_TOTALS.index(column)
    return slot_at(slot) + BACKEND_TOTALS_AT + row * MAX_BACKENDS


def probe_at(version: int, row: int) -> int:
    """The first word of a probe row."""
    return PROBES_AT + (version * PROBES + row) * PROBE_WORDS


class Ring(NamedTuple):
    """A ring of cells somewhere in the file; tick n lives in cell n modulo its size."""

    at: int  # word
    cells: int

    def cell_at(self, tick: int) -> int:
        """The first word of the cell for a tick (a second, or a ten of seconds)."""
        return self.at + tick % self.cells * CELL_WORDS


SECONDS = Ring(SECONDS_AT, SECOND_CELLS)
TENS = Ring(TENS_AT, TEN_CELLS)


def tally_at(serial: int) -> int:
    """The first word of a tally; two take turns, so that one is always whole."""
    return TALLIES_AT + serial % 2 * TALLY_WORDS


def slots_for(workers: int) -> int:
    """How many slots a router with this many workers needs: a reload has two sets alive, a binary upgrade
    four.
    """
    return max(16, 4 * workers)


def checksum() -> int:
    """A 32-bit checksum of every name and size above; differs as soon as the meaning of a word would."""
    backends = (BACKEND_TOTALS, BACKEND_COLUMNS)
    outcomes = (CAUSES, OUTCOMES, SPLIT_UNITS, SPLIT_COUNTS)
    names = (HEADER, SLOT, COUNTERS, LATENCIES, ROLES, backends, CELL_SUMS, CODE_CLASSES, VERSION_LABELS, outcomes)
    sizes = (
        LAYOUT_VERSION,
        BUCKETS,
        CAUSE_ROOM,
        ROWS,
        ROW_WORDS,
        ENDED,
        SECOND_CELLS,
        TEN_CELLS,
        PROBES,
        MAX_BACKENDS,
        CLIENT_SETS,
        CLIENT_WAYS,
        CELL_WORDS,
        SLOT_WORDS,
    )
    return zlib.crc32(repr((names, sizes)).encode())
