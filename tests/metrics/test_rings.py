"""Windows and history: cells, the leader's rings, and what is left when there is no leader."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import MetricsError
from app.metrics import layout
from app.metrics.cells import Cell, read_cell
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from app.metrics.snapshot import Probe
from tests.metrics.conftest import Answer
from tests.support.fake_clock import FakeClock


@pytest.fixture
def leader(metrics: SharedMetrics) -> SharedMetrics:
    assert metrics.try_lead()
    return metrics


def window(metrics: SharedMetrics, seconds: int) -> int:
    return metrics.snapshot(seconds).overall.requests


def test_window_counts_the_last_seconds_only(metrics: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    for _ in range(5):
        answer()
        clock.advance(1)
    assert [window(metrics, seconds) for seconds in (1, 2, 3, 60)] == [0, 1, 2, 5]


def test_window_percentiles_are_coarse_and_its_maximum_exact(metrics: SharedMetrics, answer: Answer) -> None:
    for us in range(1000, 11_000, 1000):
        answer(total_us=us)
    latency = metrics.snapshot(60).versions["blue"].total
    assert latency.p50_ms == pytest.approx(5.0, rel=1 / 8)
    assert latency.p90_ms == pytest.approx(9.0, rel=1 / 8)
    assert (latency.mean_ms, latency.max_ms) == (5.5, 10.0)


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


def test_without_a_leader_about_a_minute_is_known(metrics: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    for _ in range(200):
        answer()
        clock.advance(1)
    assert window(metrics, 600) == layout.RECENT_CELLS


def test_a_new_leader_catches_up_on_what_the_last_one_missed(
    leader: SharedMetrics, answer: Answer, clock: FakeClock
) -> None:
    for _ in range(30):
        answer()
        clock.advance(1)
    leader.fold()
    for _ in range(200):
        clock.advance(1)
        leader.fold()
    assert window(leader, 300) == 30


def test_late_recording_is_still_folded(leader: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
    row = writer.start(0, b"GET", b"/", clock())
    read_before_the_turn = clock()
    clock.advance(1)
    leader.fold()
    writer.finish(row, 0, 200, 0, 0, 0, read_before_the_turn, 1, 1, 1)
    for _ in range(5):
        clock.advance(1)
        leader.fold()
    assert window(leader, 60) == 1


def test_clock_read_before_the_turn_does_not_reopen_a_second(
    metrics: SharedMetrics, writer: SlotWriter, answer: Answer, clock: FakeClock
) -> None:
    row = writer.start(0, b"GET", b"/", clock())
    earlier = clock()
    clock.advance(1)
    answer()
    writer.finish(row, 0, 200, 0, 0, 0, earlier, 1, 1, 1)
    assert window(metrics, 1) == 2


def test_heir_goes_on_with_a_second_its_predecessor_began(metrics: SharedMetrics, clock: FakeClock) -> None:
    for _ in range(2):
        writer = metrics.claim_slot(os.getpid())
        assert writer.slot == 0
        writer.finish(writer.start(0, b"GET", b"/", clock()), 0, 200, 0, 0, 0, clock(), 1, 1, 1)
        writer.close()
    assert window(metrics, 1) == 2


def test_six_hours_are_kept_in_tens(leader: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    clock.us = 10_000_000_000
    for _ in range(2300):
        answer(total_us=5000)
        clock.advance(10)
        leader.fold()
    assert window(leader, 21_600) == 2160
    assert window(leader, 7200) == 720
    history = leader.history(21_600)
    assert history.step_s == 10
    assert len(history.times) == 2160
    assert set(history.versions["blue"].requests) == {1}
    assert history.versions["blue"].p95_ms[0] == pytest.approx(5.0, rel=1 / 8)
    assert history.versions["green"].p95_ms[0] is None


def test_history_is_one_line_per_second_without_gaps(
    leader: SharedMetrics, writer: SlotWriter, answer: Answer, clock: FakeClock
) -> None:
    answer(status=500)
    answer()
    clock.advance(3)
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
        leader.fold()
        clock.advance(1)
        writer.finish(row, 0, 200, 0, 0, 0, clock(), 1, 1, 1)
    for _ in range(3):
        leader.fold()
        clock.advance(1)
    assert list(leader.history(6).versions["blue"].in_flight) == [3, 2, 1, 0, 0, 0]


def test_tens_show_the_highest_in_flight(leader: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
    leader.fold()
    row = writer.start(0, b"GET", b"/", clock())
    clock.advance(4)
    leader.fold()
    writer.finish(row, 0, 200, 0, 0, 0, clock(), 1, 1, 1)
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


def test_cell_of_another_tick_is_not_read(metrics: SharedMetrics, answer: Answer, clock: FakeClock) -> None:
    answer()
    now_s, ring = clock() // 1_000_000, layout.recent_ring(0)
    found = read_cell(metrics._words, metrics._narrow, ring, now_s)
    assert found is not None and found.requests(0) == 1
    assert read_cell(metrics._words, metrics._narrow, ring, now_s + layout.RECENT_CELLS) is None


cells = st.builds(
    Cell,
    st.lists(st.integers(0, 1 << 40), min_size=9, max_size=9),
    st.lists(st.integers(0, 1 << 20), min_size=layout.CELL_COUNTS, max_size=layout.CELL_COUNTS),
)


@settings(suppress_health_check=[HealthCheck.large_base_example, HealthCheck.data_too_large], max_examples=20)
@given(cells, cells)
def test_adding_cells_sums_counts_and_keeps_maxima(one: Cell, other: Cell) -> None:
    total = Cell()
    total.add(one)
    total.add(other)
    for version in range(3):
        for name, together in (("bytes", sum), ("total_us", sum), ("longest_us", max)):
            assert total.of_sum(name, version) == together([one.of_sum(name, version), other.of_sum(name, version)])
        assert total.requests(version) == one.requests(version) + other.requests(version)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 1, 1, 2, 7, 50])), max_size=60)


@settings(max_examples=40, deadline=None)
@given(steps, st.integers(1, 600))
def test_any_window_of_any_traffic_is_counted_exactly(
    folder: Path, traffic: list[tuple[int, int]], seconds: int
) -> None:
    """The ring against a plain dict; the leader is never away for longer than the slots remember."""
    clock, truth = FakeClock(5000), Counter[int]()
    (folder / "ring.mmap").unlink(missing_ok=True)
    metrics = SharedMetrics.create_or_attach(folder / "ring.mmap", 2, clock)
    writers = [metrics.claim_slot(os.getpid()) for _ in range(2)]
    metrics.try_lead()
    for number, (requests, pause) in enumerate(traffic):
        writer = writers[number % 2]
        for _ in range(requests):
            writer.finish(writer.start(0, b"GET", b"/", clock()), 0, 200, 0, 0, 0, clock(), 1, 1, 1)
            truth[clock() // 1_000_000] += 1
        clock.advance(pause)
        metrics.fold()
    now_s = clock() // 1_000_000
    expected = sum(truth[second] for second in range(now_s - seconds + 1, now_s + 1))
    history = metrics.history(seconds)
    assert window(metrics, seconds) == expected
    assert sum(history.versions["blue"].requests) == expected - truth[now_s] + truth[now_s - seconds]
    for owned in (*writers, metrics):
        owned.close()
