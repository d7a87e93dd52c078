"""Windows and history: cells, the leader's rings, and what is left when there is no leader."""

from __future__ import annotations

import ctypes
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.metrics import layout
from app.metrics.cells import Cell, read_cell
from app.metrics.shared import SharedMetrics, until_next_second
from app.metrics.slot import SlotWriter
from app.metrics.snapshot import Probe
from app.operator_errors import MetricsError
from tests.metrics.conftest import Answer
from tests.support.fake_clock import FakeClock


def window(metrics: SharedMetrics, seconds: int) -> int:
    return metrics.snapshot(seconds).overall.requests


def test_window_counts_the_last_seconds_only(leader: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    for _ in range(5):
        answer()
        clock.advance(1)
        leader.fold()
    assert [window(leader, seconds) for seconds in (1, 2, 3, 60)] == [0, 1, 2, 5]


def test_window_percentiles_are_coarse_and_its_mean_exact(metrics: SharedMetrics, answer: Answer) -> None:
    for us in range(1000, 11_000, 1000):
        answer(total_us=us)
    latency = metrics.snapshot(60).versions["blue"].total
    assert latency.p50_ms == pytest.approx(5.0, rel=1 / 8)
    assert latency.p90_ms == pytest.approx(9.0, rel=1 / 8)
    assert latency.max_ms == pytest.approx(10.0, rel=1 / 8)
    assert latency.mean_ms == 5.5


def test_window_says_what_it_does_not_know(metrics: SharedMetrics, answer: Answer) -> None:
    answer(bytes_in=1, bytes_out=2)
    stats = metrics.snapshot(60).versions["blue"]
    assert (stats.bytes_proxied, stats.bytes_in, stats.first_byte, stats.upstream) == (3, None, None, None)


def test_leader_keeps_seconds_longer_than_the_slots_do(leader: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    for _ in range(300):
        answer()
        clock.advance(1)
        leader.fold()
    assert window(leader, 301) == 300
    assert window(leader, 101) == 100


def test_running_second_is_in_every_window(leader: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    answer()
    clock.advance(1)
    leader.fold()
    answer()
    assert [window(leader, seconds) for seconds in (1, 2, 700)] == [1, 2, 2]


def test_folding_twice_in_a_second_changes_nothing(leader: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    answer()
    clock.advance(1)
    leader.fold()
    answer()
    leader.fold()
    clock.advance(1)
    leader.fold()
    assert list(leader.history(2).versions["blue"].requests) == [1, 1]


def test_what_happened_while_nobody_led_is_shared_out_evenly(
    leader: SharedMetrics, answer: Answer, clock: FakeClock
) -> None:
    leader.fold()
    for _ in range(10):
        clock.advance(1)
        answer()
        answer()
    clock.advance(0.5)
    assert list(leader.history(10).versions["blue"].requests) == [2] * 10  # seen even before anyone leads again
    leader.fold()
    assert list(leader.history(10).versions["blue"].requests) == [2] * 10
    assert list(leader.history(12).versions["blue"].requests) == [0, 0] + [2] * 10


def test_after_a_long_absence_everything_counts_for_now(
    leader: SharedMetrics, answer: Answer, clock: FakeClock
) -> None:
    leader.fold()
    answer()
    clock.advance(1000)
    leader.fold()
    assert list(leader.history(600).versions["blue"].requests) == [0] * 599 + [1]


def test_next_leader_does_again_what_the_last_one_left_unfinished(
    leader: SharedMetrics, answer: Answer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer()
    clock.advance(1)
    leader.fold()
    answer()
    clock.advance(1)
    with monkeypatch.context() as dying:
        dying.setattr("app.metrics.leader.write_tally", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            leader.fold()
    answer()
    clock.advance(1)
    leader.fold()
    assert list(leader.history(3).versions["blue"].requests) == [1, 1, 1]
    assert window(leader, 60) == 3


def test_tally_that_moves_while_it_is_read_is_read_again(
    leader: SharedMetrics, answer: Answer, clock: FakeClock
) -> None:
    answer()
    clock.advance(1)
    leader.fold()

    class Moving:
        """A file whose tally has moved on at the first so many looks at its serial number."""

        def __init__(self, words: memoryview[int], moves: int) -> None:
            self.words, self.moves = words, moves

        def __getitem__(self, index: int | slice) -> int | memoryview[int]:
            if index == layout.H["tally_serial"] and self.moves:
                self.moves -= 1
                return 7
            return self.words[index]

    words = leader._reader._words
    for moves, expected in ((0, 1), (5, 1), (1 << 60, 0)):
        leader._reader._words = Moving(words, moves)  # type: ignore[assignment]  # stands in for a memoryview
        assert leader._reader.folded_tally().requests(0) == expected


def test_long_past_is_kept_in_tens(leader: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    assert layout.TENS.cells * 10 == 6 * 3600
    clock.us = 30_000_000_000
    leader.fold()
    for _ in range(120):
        answer(total_us=5000)
        clock.advance(10)
        leader.fold()
    assert window(leader, 1200) == window(leader, 21_600) == 120
    assert window(leader, 700) == 70
    history = leader.history(1000)
    assert history.step_s == 10
    assert len(history.times) == 100
    assert set(history.versions["blue"].requests) == {1}
    assert {round(ms) for ms in history.versions["blue"].p95_ms if ms is not None} == {5}
    assert set(history.versions["green"].p95_ms) == {None}
    assert len(leader.history(21_600).times) == 2160


def test_unfolded_ten_is_made_of_its_seconds(leader: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    for _ in range(6):
        answer()
        clock.advance(1)
        leader.fold()
    clock.advance(4)
    assert list(leader.history(700).versions["blue"].requests)[-1] == 6


def test_leader_wakes_just_after_the_turn_of_a_second() -> None:
    turn = time.monotonic() + until_next_second()
    assert turn % 1.0 < 0.01


def test_new_steps_alone_can_be_read(leader: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    answer()
    clock.advance(1)
    leader.fold()
    assert list(leader.series(range(999, 1001), 1)["blue"].requests) == [0, 1]


def test_history_is_one_line_per_second_without_gaps(
    leader: SharedMetrics, writer: SlotWriter, answer: Answer, clock: FakeClock
) -> None:
    answer(status=500)
    answer()
    for _ in range(3):
        clock.advance(1)
        leader.fold()
    answer(version=1)
    clock.advance(1)
    history = leader.history(5)
    assert history.step_s == 1
    assert history.versions["blue"].requests == [0, 2, 0, 0, 0]
    assert history.versions["blue"].failed == [0, 1, 0, 0, 0]
    assert history.versions["green"].requests == [0, 0, 0, 0, 1]
    assert [later - history.times[0] for later in history.times] == [0, 1, 2, 3, 4]
    assert abs(history.times[-1] - (time.time() - 1)) <= 1


def test_history_shows_a_drain_as_a_line_falling_to_zero(
    leader: SharedMetrics, writer: SlotWriter, clock: FakeClock
) -> None:
    rows = [writer.start(0, b"GET", b"/", clock()) for _ in range(3)]
    for row in rows:
        clock.advance(1)
        leader.fold()
        writer.finish(row, 0, status=200)
    clock.advance(2)
    assert list(leader.history(5).versions["blue"].in_flight) == [3, 2, 1, 0, 0]


def test_tens_show_the_highest_in_flight(leader: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
    leader.fold()
    row = writer.start(0, b"GET", b"/", clock())
    clock.advance(4)
    leader.fold()
    writer.finish(row, 0, status=200)
    for _ in range(10):
        clock.advance(1)
        leader.fold()
    assert leader.history(601).versions["blue"].in_flight[-1] == 1


def test_only_one_leads_and_the_next_follows(leader: SharedMetrics, path: Path, clock: FakeClock) -> None:
    assert leader.try_lead()
    other = SharedMetrics.create_or_attach(path, 4, clock)
    assert not other.try_lead()
    with pytest.raises(MetricsError):
        other.fold()
    with pytest.raises(MetricsError):
        other.write_probe(0, 0.0, True, 200, 1, "")
    leader._led()  # still in office
    other.close()
    successor = SharedMetrics.create_or_attach(path, 4, clock)
    leader.claim_slot(os.getpid())
    leader._leader_locks.close()  # type: ignore[union-attr]  # what its death does
    assert successor.try_lead()
    successor.close()


def test_the_last_eight_probes_are_kept_in_order(leader: SharedMetrics) -> None:
    for number in range(11):
        leader.write_probe(1, 100.0 + number, number % 2 == 0, 200 + number, number * 1000, f"probe {number}")
    probes = leader.probes(1)
    assert [probe.reason for probe in probes] == [f"probe {number}" for number in range(3, 11)]
    assert probes[-1] == Probe(at=110.0, ok=True, status=210, latency_ms=10.0, reason="probe 10")
    assert leader.probes(0) == []
    assert leader.snapshot().probes["green"] == probes


def test_long_probe_reasons_are_cut(leader: SharedMetrics) -> None:
    leader.write_probe(0, 1.0, False, 0, 0, "ü" * 200)
    [probe] = leader.probes(0)
    assert probe.reason == "ü" * (layout.PROBE_REASON_BYTES // 2)
    assert (probe.ok, probe.status) == (False, 0)


@pytest.fixture(params=["file", "memory"])
def remembering(request: pytest.FixtureRequest, path: Path, clock: FakeClock) -> Iterator[SharedMetrics]:
    """A leader that counts in a file, and one that has no place for a file."""
    if request.param == "memory":
        path.parent.write_text("not a folder")
    metrics = SharedMetrics.create_or_attach(path, 4, clock)
    assert bool(metrics.fault) == (request.param == "memory")
    assert metrics.try_lead()
    yield metrics
    metrics.close()


def test_history_is_kept_without_being_kept_resident(remembering: SharedMetrics, clock: FakeClock) -> None:
    writer = remembering.claim_slot(os.getpid())
    for _ in range(layout.SECOND_CELLS):
        writer.finish(
            writer.start(0, b"GET", b"/", clock()), 0, status=200, total_us=1000, first_byte_us=900, upstream_us=800
        )
        clock.advance(1)
        remembering.fold()
    history = remembering.history(layout.SECOND_CELLS)
    assert history.versions["blue"].requests == [1] * layout.SECOND_CELLS
    ring_kib = layout.SECOND_CELLS * layout.CELL_WORDS * layout.WORD // 1024
    assert resident_kib(remembering) < ring_kib / 2
    writer.close()


def resident_kib(metrics: SharedMetrics) -> int:
    """What of the mapping is in this process's resident memory."""
    address = f"{ctypes.addressof(ctypes.c_char.from_buffer(metrics.mapped.memory)):x}-"
    maps = Path("/proc/self/smaps").read_text()
    [found] = re.findall(rf"^{address}.*?^Rss: +(\d+) kB", maps, re.MULTILINE | re.DOTALL)
    return int(found)


def test_cell_of_another_tick_is_not_read(leader: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    answer()
    second = clock() // 1_000_000
    clock.advance(1)
    leader.fold()
    found = read_cell(leader._words, leader._narrow, layout.SECONDS, second)
    assert found is not None and found.requests(0) == 1
    assert read_cell(leader._words, leader._narrow, layout.SECONDS, second + layout.SECOND_CELLS) is None


def any_cell(seed: int) -> Cell:
    """A cell full of figures; drawing every one of them by itself would take too long."""
    rng = random.Random(seed)
    return Cell([rng.randrange(1 << 40) for _ in range(6)], [rng.randrange(1 << 20) for _ in range(layout.CELL_COUNTS)])


cells = st.builds(any_cell, st.integers())


@settings(max_examples=30)
@given(cells, cells)
def test_adding_and_taking_off_are_inverse(one: Cell, other: Cell) -> None:
    total = Cell()
    total.add(one)
    total.add(other)
    assert (total.since(other).sums, total.since(other).counts) == (one.sums, one.counts)
    assert total.requests(1) == one.requests(1) + other.requests(1)
    assert set(one.since(total).sums) <= {0}


@settings(max_examples=30)
@given(cells, st.integers(1, 60))
def test_shares_add_up_to_the_whole(whole: Cell, of: int) -> None:
    total = Cell()
    for number in range(of):
        total.add(whole.part(number, of))
    assert (total.sums, total.counts) == (whole.sums, whole.counts)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


steps = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=60)


@settings(max_examples=15, deadline=None)
@given(steps, st.integers(1, 600))
def test_any_window_of_any_traffic_is_counted_exactly(
    folder: Path, traffic: list[tuple[int, int]], seconds: int
) -> None:
    """The rings against a plain dict, with a leader that folds every second."""
    clock, truth = FakeClock(5000), Counter[int]()
    (folder / "ring.mmap").unlink(missing_ok=True)
    metrics = SharedMetrics.create_or_attach(folder / "ring.mmap", 2, clock)
    writers = [metrics.claim_slot(os.getpid()) for _ in range(2)]
    metrics.try_lead()
    metrics.fold()
    for number, (requests, pause) in enumerate(traffic):
        writer = writers[number % 2]
        for _ in range(requests):
            writer.finish(
                writer.start(0, b"GET", b"/", clock()), 0, status=200, total_us=1, first_byte_us=1, upstream_us=1
            )
            truth[clock() // 1_000_000] += 1
        clock.advance(pause)
        metrics.fold()
    now_s = clock() // 1_000_000
    expected = sum(truth[second] for second in range(now_s - seconds + 1, now_s + 1))
    history = metrics.history(seconds)
    assert window(metrics, seconds) == expected
    assert sum(history.versions["blue"].requests) == expected - truth[now_s] + truth[now_s - seconds]
    for writer in writers:
        writer.close()
    metrics.close()
