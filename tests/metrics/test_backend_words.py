"""What the workers say of a version's backends: added up over those that are well, and forgotten with the others."""

from __future__ import annotations

import os
from pathlib import Path

from app.address import Address
from app.metrics import layout
from app.metrics.backend_rows import TIMES_BITS
from app.metrics.shared import SharedMetrics, monotonic_us


def made(folder: Path) -> SharedMetrics:
    return SharedMetrics.create_or_attach(folder / "m.mmap", 16)


def test_workers_see_what_all_have_in_flight(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    here, there = (metrics.claim_slot(os.getpid()) for _ in range(2))
    ours, theirs = metrics.backends(here, 1), metrics.backends(there, 1)
    for backend in (0, 0, 2):
        ours.began(backend)
    theirs.began(2)
    for words in (ours, theirs):
        words.verdicts(3)
    assert ours.in_flight(3) == theirs.in_flight(3) == [2, 0, 2]
    assert metrics.backends(here, 0).in_flight(3) == [0, 0, 0]
    ours.ended(0)
    assert theirs.in_flight(4) == [1, 0, 2, 0]
    assert ours.own[:3] == [1, 0, 1]


def test_latest_word_and_any_doubt_hold_for_all(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    ours, theirs = (metrics.backends(metrics.claim_slot(os.getpid()), 0) for _ in range(2))
    ours.say_out(1, 500)
    theirs.say_out(1, 400)
    theirs.say_unwell(0, True)
    assert (ours.verdicts(2).out, ours.verdicts(2).unwell) == ([0, 500], [1, 0])
    theirs.say_unwell(0, False)
    assert ours.verdicts(2).unwell == [0, 0]


def test_who_hangs_does_not_count(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    here, there = (metrics.claim_slot(os.getpid()) for _ in range(2))
    metrics.backends(there, 0).began(0)
    there.beat(monotonic_us() - layout.FRESH_US - 1)
    ours = metrics.backends(here, 0)
    ours.verdicts(1)
    assert ours.in_flight(1) == [0]


def test_who_takes_a_dead_workers_place_begins_with_nothing(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    dead = metrics.claim_slot(os.getpid())
    words = metrics.backends(dead, 0)
    words.began(3)
    words.say_out(3, 77)
    words.say_unwell(3, True)
    dead.close()
    heir = metrics.claim_slot(os.getpid())
    assert heir.slot == dead.slot
    assert metrics.backends(heir, 0).in_flight(4) == [0] * 4
    assert metrics.backends(heir, 0).verdicts(4) == ([0] * 4, [0] * 4)


def test_worker_without_a_place_writes_into_nobody_elses(tmp_path: Path) -> None:
    metrics = SharedMetrics.create_or_attach(tmp_path / "m.mmap", 16)
    first, *_ = [metrics.claim_slot(os.getpid()) for _ in range(metrics.slots)]
    alone = metrics.claim_slot(os.getpid())
    words = metrics.backends(alone, 0)
    words.began(0)
    metrics.shares(alone).publish(41)
    others = metrics.backends(first, 0)
    others.verdicts(1)
    assert others.in_flight(1) == [0]
    assert words.in_flight(1) == [1]
    assert metrics.shares(first).least_of_others(monotonic_us()) is None


A, B, C = (Address("10.0.0.1", port) for port in (8001, 8002, 8003))


def counted(metrics: SharedMetrics, *addresses: Address) -> list[tuple[int, int]]:
    """The requests and the failures of each."""
    return [(row.requests, row.failures) for row in metrics.backend_rows(0, addresses)]


def test_what_was_counted_outlives_its_worker_and_goes_on_with_its_heir(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    dead, other = (metrics.claim_slot(os.getpid()) for _ in range(2))
    for writer in (dead, other):
        words = metrics.backends(writer, 0)
        words.name((A, B))
        words.began(1)
        words.failed(1)
    assert counted(metrics, A, B) == [(0, 0), (2, 2)]
    dead.close()
    assert counted(metrics, A, B) == [(0, 0), (2, 2)]
    heir = metrics.claim_slot(os.getpid())
    assert (heir.slot, counted(metrics, A, B)) == (dead.slot, [(0, 0), (2, 2)])
    words = metrics.backends(heir, 0)
    words.name((A, B))
    words.began(1)
    assert counted(metrics, A, B) == [(0, 0), (3, 2)]
    assert metrics.backend_rows(0, (A, B))[1].in_flight == 2, "the dead one's is over"


def test_what_was_counted_stays_with_its_address_when_the_list_changes(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    ours, theirs = (metrics.backends(metrics.claim_slot(os.getpid()), 0) for _ in range(2))
    until = (monotonic_us() + 60_000_000) << TIMES_BITS
    for words in (ours, theirs):
        words.name((A, B))
        words.began(1)
    ours.say_out(1, until)
    ours.name((B, C))
    assert counted(metrics, B, C) == [(2, 0), (0, 0)], "one worker has taken the new list up, the other has not yet"
    assert [row.state for row in metrics.backend_rows(0, (B, C))] == ["ejected", "ok"]
    ours.began(1)
    theirs.name((B, C))
    assert counted(metrics, A, B, C) == [(0, 0), (2, 0), (1, 0)], "who is not in the list begins anew"
    ours.name((C,))
    assert counted(metrics, C, B) == [(1, 0), (1, 0)]


def test_place_that_is_given_back_was_no_request(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    words = metrics.backends(metrics.claim_slot(os.getpid()), 0)
    words.name((A, B))
    words.reserved(0)
    assert (words.own[0], counted(metrics, A, B)) == (1, [(0, 0), (0, 0)])
    words.ended(0)
    words.reserved(1)
    words.counted(1)
    assert (words.own[:2], counted(metrics, A, B)) == ([0, 1], [(0, 0), (1, 0)])


class Worker:
    """One that has requests in flight on blue, of which some count on a backend."""

    def __init__(self, metrics: SharedMetrics) -> None:
        self.slot = metrics.claim_slot(os.getpid())
        self.words = metrics.backends(self.slot, 0)

    def start(self) -> int:
        return self.slot.start(0, b"GET", b"/", monotonic_us())

    def end(self, row: int) -> None:
        self.slot.finish(row, 0, status=200)
        self.words.settle()


def in_flight(metrics: SharedMetrics, *addresses: Address) -> list[int]:
    return [row.in_flight for row in metrics.backend_rows(0, addresses)]


def test_what_is_in_flight_on_the_only_one_counts_there_when_others_come(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    worker = Worker(metrics)
    worker.words.name((B,))
    rows = [worker.start() for _ in range(3)]
    worker.words.name((A, B, C))
    assert in_flight(metrics, A, B, C) == [0, 3, 0]
    worker.words.name((C, A, B))
    assert in_flight(metrics, A, B, C) == [0, 3, 0], "whatever its place in the list"
    worker.words.name((A, B, C))
    assert worker.words.in_flight(3) == [0, 3, 0], "also for who chooses"
    rows.append(worker.start())
    worker.words.began(1)
    worker.end(rows.pop(0))
    assert in_flight(metrics, A, B, C) == [0, 3, 0]
    worker.words.ended(1)
    worker.end(rows.pop())
    assert in_flight(metrics, A, B, C) == [0, 2, 0]
    for row in rows:
        worker.end(row)
    assert in_flight(metrics, A, B, C) == [0, 0, 0]
    worker.start()
    worker.words.settle()
    assert in_flight(metrics, A, B, C) == [0, 0, 0], "what comes later counts where it goes, if anywhere"


def test_what_is_in_flight_counts_again_when_there_is_one_meanwhile(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    worker = Worker(metrics)
    worker.words.name((A,))
    first = worker.start()
    worker.words.name((A, B))
    on_b = worker.start()
    worker.words.began(1)
    worker.words.name((A,))
    second = worker.start()
    worker.words.name((A, B))
    assert in_flight(metrics, A, B) == [2, 1]
    worker.end(first)
    worker.words.ended(1)
    worker.end(on_b)
    assert in_flight(metrics, A, B) == [1, 0]
    worker.end(second)
    assert in_flight(metrics, A, B) == [0, 0]


def test_what_is_in_flight_on_one_that_is_gone_counts_on_no_other(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    worker = Worker(metrics)
    worker.words.name((A,))
    worker.start()
    worker.words.name((B, C))
    assert in_flight(metrics, B, C) == [0, 0]


def test_heir_of_a_dead_worker_has_none_of_its_requests(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    dead = Worker(metrics)
    dead.words.name((A,))
    dead.start()
    dead.slot.close()
    heir = Worker(metrics)
    assert heir.slot.slot == dead.slot.slot
    heir.words.name((A, B))
    assert in_flight(metrics, A, B) == [0, 0]


def test_what_a_worker_that_hangs_has_in_flight_is_waited_for_and_what_it_says_is_void(tmp_path: Path) -> None:
    """It may go on; that it does not choose is known, but not that it never will."""
    metrics = made(tmp_path)
    hangs = Worker(metrics)
    hangs.words.name((A, B))
    hangs.words.began(1)
    hangs.words.say_unwell(1, True)
    hangs.slot.beat(monotonic_us() - layout.FRESH_US - 1)
    row = metrics.backend_rows(0, (A, B))[1]
    assert (row.in_flight, row.state) == (1, "ok")
    hangs.slot.close()
    assert in_flight(metrics, A, B) == [0, 0]


def test_health_check_of_one_that_is_named_no_more_says_nothing_of_others(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    words = Worker(metrics).words
    words.name((B, C))
    for address, is_ok in ((A, False), (B, True), (C, False)):
        words.say_checked(address, is_ok)
    assert [row.state for row in metrics.backend_rows(0, (A, B, C))] == ["ok", "ok", "unhealthy"]
    words.say_checked(C, True)
    assert [row.state for row in metrics.backend_rows(0, (B, C))] == ["ok", "ok"]
