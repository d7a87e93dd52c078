"""The promises that need real processes: exact through kill -9, never backwards, never torn."""

from __future__ import annotations

import mmap
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from app.metrics import layout
from app.metrics.cells import read_cell
from app.metrics.layout import C
from app.metrics.shared import SharedMetrics, monotonic_us
from app.metrics.snapshot import WORKER_DIED, Snapshot
from tests.support.fake_clock import FakeClock
from tests.support.forked import child, fork_child, kill_child
from tests.support.waiting import wait_until

WORKERS = 4
KILLS = 100


def one_request_then_hang(metrics: SharedMetrics) -> None:
    writer = metrics.claim_slot(os.getpid())
    now_us = monotonic_us()
    writer.finish(writer.start(0, b"GET", b"/", now_us), 0, status=200)
    writer.start(0, b"GET", b"/hangs", now_us, b"id-of-it")
    time.sleep(60)


def test_killed_worker_leaves_its_count_and_not_its_requests(path: Path) -> None:
    metrics = SharedMetrics.create_or_attach(path, 4)
    with child(lambda: one_request_then_hang(metrics)) as pid:
        wait_until(lambda: metrics.in_flight("blue"), "the request in flight")
        alive = metrics.snapshot()
        assert [(worker.pid, worker.requests, worker.in_flight) for worker in alive.workers] == [(pid, 1, 1)]
        assert [row.path for row in alive.rows] == ["/hangs"]
    dead = metrics.snapshot()
    assert (metrics.in_flight("blue"), dead.overall.in_flight, dead.rows, dead.workers) == (0, 0, [], [])
    assert (dead.overall.requests, dead.overall.failed, dead.overall.aborted) == (2, 1, 1)
    assert dead.overall.code_classes["none"] == 1
    [cut] = dead.cuts
    assert (cut.version, cut.request_id, cut.path, cut.cause) == ("blue", "id-of-it", "/hangs", WORKER_DIED)
    assert dead.overall.cut == 1
    heir = metrics.claim_slot(os.getpid())
    inherited = metrics.snapshot()
    assert heir.slot == 0
    assert inherited.overall == dead.overall
    assert inherited.cuts == dead.cuts
    heir.start(0, b"GET", b"/new", monotonic_us(), b"id-of-the-heir")
    assert metrics.cuts() == dead.cuts
    assert [worker.requests for worker in inherited.workers] == [0]
    heir.close()
    metrics.close()


def test_slot_is_held_by_one_process_only(path: Path) -> None:
    metrics = SharedMetrics.create_or_attach(path, 4)
    with child(lambda: one_request_then_hang(metrics)):
        wait_until(lambda: metrics.live_slots() == 1, "the child's slot")
        other = SharedMetrics.create_or_attach(path, 4)
        writer = other.claim_slot(os.getpid())
        assert (writer.slot, metrics.live_slots()) == (1, 2)
        # A descriptor of the file closed here must not let go of the lock, as it would with lockf.
        os.close(os.open(path, os.O_RDWR))
        other.close()
        assert metrics.live_slots() == 2
        writer.close()
    assert metrics.live_slots() == 0
    metrics.close()


def test_forked_workers_share_figures_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "foreign").write_text("not ours")
    metrics = SharedMetrics.create_or_attach(tmp_path / "foreign", 4)
    assert metrics.fault
    with child(lambda: one_request_then_hang(metrics)), child(lambda: one_request_then_hang(metrics)):
        wait_until(lambda: metrics.snapshot().overall.requests == 2, "both workers' requests")
        wait_until(lambda: metrics.in_flight("blue") == 2, "those that they hang in")
    assert metrics.in_flight("blue") == 0
    metrics.close()


@pytest.mark.parametrize("before", ["nothing", "a smaller file"])
def test_processes_that_make_the_file_at_once_agree_on_one(path: Path, before: str) -> None:
    if before == "a smaller file":
        SharedMetrics.create_or_attach(path, 2).close()

    def make_and_serve() -> None:
        time.sleep(max(0, start - time.monotonic()))
        one_request_then_hang(SharedMetrics.create_or_attach(path, 16))

    start = time.monotonic() + 0.1
    pids = [fork_child(make_and_serve) for _ in range(8)]
    try:
        wait_until(path.exists, "the file")
        metrics = SharedMetrics.create_or_attach(path, 16)
        wait_until(lambda: metrics.snapshot().overall.requests == 8, "eight workers in one file")
        wait_until(lambda: metrics.in_flight("blue") == 8, "those that they hang in")
        metrics.close()
    finally:
        for pid in pids:
            kill_child(pid)


class Journal:
    """What each worker did by its own account, in memory that outlives it."""

    def __init__(self, workers: int) -> None:
        self.words = memoryview(mmap.mmap(-1, 16 * workers)).cast("Q")

    def of(self, what: int) -> int:
        return sum(self.words[what::2])


def serve_until_killed(metrics: SharedMetrics, journal: Journal, number: int) -> None:
    """Requests without end, a few of them at a time; says before a start and after a finish that it did."""
    writer, rng = metrics.claim_slot(os.getpid()), random.Random(number)
    running: list[tuple[int, int]] = []
    while True:
        now_us = monotonic_us()
        if len(running) < 5:
            version = rng.randrange(2)
            journal.words[2 * number] += 1
            running.append((writer.start(version, b"GET", b"/load", now_us), version))
        else:
            row, version = running.pop(rng.randrange(5))
            writer.finish(
                row, version, status=200, bytes_in=1, bytes_out=2, total_us=10, first_byte_us=9, upstream_us=8
            )
            journal.words[2 * number + 1] += 1


def figures_that_only_grow(snapshot: Snapshot) -> list[int]:
    stats = snapshot.overall
    return [stats.requests, stats.failed, stats.aborted, stats.bytes_proxied, stats.total.count]


def test_a_hundred_kills_under_load_lose_and_invent_nothing(path: Path) -> None:
    metrics = SharedMetrics.create_or_attach(path, 16)
    reader, journal = SharedMetrics.open(path), Journal(KILLS + WORKERS)
    rng, last = random.Random(1), figures_that_only_grow(reader.snapshot())
    workers: list[int] = []
    try:
        for number in range(KILLS + WORKERS):
            workers.append(fork_child(partial(serve_until_killed, metrics, journal, number)))
            if len(workers) > WORKERS:
                wait_until(partial(journal.words.__getitem__, 2 * number), "the new worker serving")
                kill_child(workers.pop(rng.randrange(WORKERS)))
            figures = figures_that_only_grow(reader.snapshot())
            assert all(new >= old for new, old in zip(figures, last, strict=True))
            last = figures
            assert max(reader.in_flight("blue"), reader.in_flight("green")) <= 5 * (WORKERS + 1)
    finally:
        for pid in workers:
            kill_child(pid)
    snapshot = reader.snapshot()
    finished = snapshot.overall.requests - snapshot.overall.aborted
    deaths = KILLS + WORKERS
    # Killed between the two lines of one account, a worker may be one behind in the other.
    assert journal.of(1) <= finished <= journal.of(1) + deaths
    assert journal.of(0) - deaths <= snapshot.overall.requests <= journal.of(0)
    assert 0 < snapshot.overall.aborted <= 5 * deaths
    assert snapshot.overall.failed == snapshot.overall.aborted
    assert abs(snapshot.overall.bytes_proxied - 3 * finished) <= 3 * deaths
    assert (reader.in_flight("blue"), reader.in_flight("green"), reader.live_slots()) == (0, 0, 0)
    used = sum(bool(metrics._words[layout.slot_at(slot)]) for slot in range(16))
    assert used <= WORKERS + 1
    metrics.close()
    reader.close()


# All of a word's lower six bytes move with every store, so that a torn word is no multiple of it.
STEP = 0x0101_0101_0101


def looks(enough: Callable[[], bool]) -> Iterator[None]:
    """For a second, and on a busy machine for as long as it takes to have seen enough."""
    second_over, deadline = time.monotonic() + 1, time.monotonic() + 30
    while time.monotonic() < second_over or not enough():
        assert time.monotonic() < deadline, "too little seen in 30 s"
        yield


def write_steps(metrics: SharedMetrics) -> None:
    writer = metrics.claim_slot(os.getpid())
    while True:
        row = writer.start(0, b"GET", b"/", 1)
        writer.finish(row, 0, status=200, bytes_out=STEP)
        if writer._words[layout.version_at(0, 0) + C["bytes_out"]] > 1 << 62:
            writer._words[layout.version_at(0, 0) + C["bytes_out"]] = 0


def test_reader_never_sees_half_a_store(path: Path) -> None:
    metrics = SharedMetrics.create_or_attach(path, 4)
    reader = SharedMetrics.open(path)
    word = layout.version_at(0, 0) + C["bytes_out"]
    with child(lambda: write_steps(metrics)):
        wait_until(lambda: reader._words[word], "the writer")
        seen = set[int]()
        for _ in looks(lambda: len(seen) > 10):
            for _ in range(1000):
                value = reader._words[word]
                assert value % STEP == 0
            seen.add(value)
    metrics.close()
    reader.close()


def lead_through_seconds(metrics: SharedMetrics, clock: FakeClock, now: memoryview[int]) -> None:
    """A second of the history every millisecond or so; second n has n % 5 + 1 requests of n bytes."""
    writer = metrics.claim_slot(os.getpid())
    metrics.try_lead()
    for second in count(1):
        clock.us = second * 1_000_000
        for _ in range(second % 5 + 1):
            writer.finish(
                writer.start(0, b"GET", b"/", 1),
                0,
                status=200,
                bytes_out=second,
                total_us=1,
                first_byte_us=1,
                upstream_us=1,
            )
        clock.advance(1)
        metrics.fold()
        now[0] = second


def test_reader_never_mixes_two_turns_of_a_ring(path: Path) -> None:
    clock, seen = FakeClock(), set[int]()
    metrics = SharedMetrics.create_or_attach(path, 4, clock)
    now, rng = memoryview(mmap.mmap(-1, 8)).cast("Q"), random.Random(2)
    with child(lambda: lead_through_seconds(metrics, clock, now)):
        wait_until(lambda: now[0] > layout.SECOND_CELLS, "the first turn of the ring", 30)
        for _ in looks(lambda: len(seen) > 100):
            # The oldest cells are the ones about to be written over.
            second = now[0] - layout.SECOND_CELLS + rng.randrange(4)
            cell = read_cell(metrics._words, metrics._narrow, layout.SECONDS, second)
            if cell is not None:
                seen.add(second)
                assert cell.requests(0) == second % 5 + 1
                assert cell.of_sum("bytes", 0) == second * (second % 5 + 1)
    metrics.close()


def test_rows_are_never_half_of_one_request_and_half_of_another(path: Path) -> None:
    def write_rows(metrics: SharedMetrics) -> None:
        writer = metrics.claim_slot(os.getpid())
        for number in count():
            letter = b"%c" % (97 + number % 26)
            target = b"/" + letter * (number % 26 + 1)
            row = writer.start(number % 2, letter * 4, target, monotonic_us())
            writer.unclaim(row, number % 2)

    metrics, seen = SharedMetrics.create_or_attach(path, 4), set[str]()
    with child(lambda: write_rows(metrics)):
        for _ in looks(lambda: len(seen) > 5):
            for row in metrics.in_flight_rows():
                letter = row.method[0]
                length = ord(letter) - 96
                assert (row.method, row.path) == (letter * 4, "/" + letter * length)
                assert row.version == ("blue", "green")[(length - 1) % 2]
                seen.add(letter)
    metrics.close()


@pytest.mark.parametrize("killed_after", range(18))
def test_claim_killed_at_any_point_changes_no_figure(
    path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    """The claimer dies before its n-th store of the take-over."""
    metrics = SharedMetrics.create_or_attach(path, 4)
    with child(lambda: one_request_then_hang(metrics)):
        wait_until(lambda: metrics.in_flight("blue"), "the request in flight")
    before = metrics.snapshot()

    class Dying:
        """Lets so many stores pass, then kills the process."""

        def __init__(self, words: memoryview[int]) -> None:
            self.words, self.left = words, killed_after

        def __getitem__(self, index: int) -> int:
            return self.words[index]

        def __setitem__(self, index: int, value: int) -> None:
            if not self.left:
                os.kill(os.getpid(), 9)
            self.left -= 1
            self.words[index] = value

    def claim() -> None:
        metrics._words = Dying(metrics._words)  # type: ignore[assignment]  # stands in for a memoryview
        metrics.claim_slot(os.getpid())

    os.waitpid(fork_child(claim), 0)
    after = metrics.snapshot()
    assert after.overall == before.overall
    assert after.cuts == before.cuts
    assert metrics.in_flight("blue") == 0
    heir = metrics.claim_slot(os.getpid())
    assert (heir.slot, metrics.snapshot().overall, metrics.cuts()) == (0, before.overall, before.cuts)
    heir.close()
    metrics.close()
