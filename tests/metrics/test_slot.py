"""What a worker records of its requests, as a reader finds it."""

from __future__ import annotations

import os

import pytest

from app.errors import CAUSES
from app.metrics import layout
from app.metrics.backend_rows import who
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from app.metrics.snapshot import VersionStats
from tests.metrics.conftest import Answer
from tests.support.fake_clock import FakeClock

CONNECT_REFUSED = CAUSES.index("connect_refused")
TRUNCATED = CAUSES.index("upstream_truncated")
DISCONNECTED = CAUSES.index("client_disconnected")
MALFORMED = CAUSES.index("malformed_request")


def blue(metrics: SharedMetrics) -> VersionStats:
    return metrics.snapshot().versions["blue"]


def test_request_is_in_flight_from_start_to_finish(
    metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock
) -> None:
    row = writer.start(0, b"GET", b"/", clock())
    assert (metrics.in_flight("blue"), metrics.in_flight("green"), blue(metrics).requests) == (1, 0, 0)
    writer.finish(row, 0, status=200)
    assert (metrics.in_flight("blue"), blue(metrics).in_flight, blue(metrics).requests) == (0, 0, 1)


def test_unclaimed_request_is_no_request(metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
    writer.unclaim(writer.start(1, b"GET", b"/", clock()), 1)
    assert metrics.in_flight("green") == 0
    assert metrics.in_flight_rows() == []
    assert metrics.snapshot().overall.requests == 0


def test_figures_of_a_request(metrics: SharedMetrics, answer: Answer) -> None:
    answer(status=201, bytes_in=7, bytes_out=11, total_us=3000, first_byte_us=2000, upstream_us=1000)
    stats = blue(metrics)
    assert (stats.bytes_in, stats.bytes_out, stats.bytes_proxied) == (7, 11, 18)
    assert stats.statuses == {201: 1}
    assert stats.code_classes == {"none": 0, "1xx": 0, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 0}
    assert stats.first_byte is not None and stats.upstream is not None
    for latency, ms in ((stats.total, 3.0), (stats.first_byte, 2.0), (stats.upstream, 1.0)):
        assert (latency.count, latency.sum_ms, latency.mean_ms) == (1, ms, ms)
        assert latency.p50_ms == pytest.approx(ms, rel=1 / 64)
        assert latency.max_ms == pytest.approx(ms, rel=1 / 64)


def test_the_longest_request_is_exact_the_other_times_nearly(metrics: SharedMetrics, answer: Answer) -> None:
    for us in (5_000, 123_457, 17):
        answer(total_us=us + 2, first_byte_us=us + 1, upstream_us=us)
    stats = blue(metrics)
    assert stats.first_byte is not None and stats.upstream is not None
    assert stats.total.max_ms == 123.459
    assert stats.first_byte.max_ms == pytest.approx(123.458, rel=1 / 64)
    assert stats.upstream.max_ms == pytest.approx(123.457, rel=1 / 64)


def test_percentile_is_never_above_the_maximum(metrics: SharedMetrics, answer: Answer) -> None:
    answer(total_us=1024)  # the lowest value of its bucket: the bucket's middle is above it
    assert blue(metrics).total.p99_ms == 1.024


def test_durations_beyond_the_buckets_are_counted_and_summed_exactly(metrics: SharedMetrics, answer: Answer) -> None:
    hour_us = 3_600_000_000
    answer(total_us=hour_us, first_byte_us=hour_us, upstream_us=hour_us)
    assert blue(metrics).total.sum_ms == blue(metrics).total.max_ms == 3_600_000.0


def test_negative_duration_means_not_measured(metrics: SharedMetrics, answer: Answer) -> None:
    answer(total_us=-1, first_byte_us=-1, upstream_us=-1)
    stats = blue(metrics)
    assert stats.first_byte is not None and stats.upstream is not None
    assert (stats.requests, stats.first_byte.count, stats.upstream.count, stats.total.sum_ms) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("status", "cause", "failed"),
    [
        pytest.param(200, 0, 0, id="good answer"),
        pytest.param(404, 0, 0, id="the application's 404"),
        pytest.param(500, 0, 1, id="the application's 500"),
        pytest.param(502, CONNECT_REFUSED, 1, id="gateway error"),
        pytest.param(200, TRUNCATED, 1, id="answer broke off after its status"),
        pytest.param(499, DISCONNECTED, 0, id="client left"),
        pytest.param(400, MALFORMED, 0, id="client's mistake"),
    ],
)
def test_failed_is_a_5xx_or_a_broken_off_answer(
    metrics: SharedMetrics, answer: Answer, status: int, cause: int, failed: int
) -> None:
    answer(status=status, cause=cause)
    for stats in (blue(metrics), metrics.snapshot(10).versions["blue"]):
        assert (stats.failed, stats.successful) == (failed, 1 - failed)
        assert stats.causes == ({CAUSES[cause]: 1} if cause else {})


@pytest.mark.parametrize("status", [0, 100, 599])
def test_every_status_has_its_counter(metrics: SharedMetrics, answer: Answer, status: int) -> None:
    answer(status=status)
    assert blue(metrics).statuses == {status: 1}
    assert sum(blue(metrics).code_classes.values()) == 1


def test_retries_and_holds_are_counted_beside_the_requests(
    metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock
) -> None:
    writer.count_retry(0)
    writer.count_held(0, 2500)
    writer.count_held(0, -3)
    stats, window = blue(metrics), metrics.snapshot(10).versions["blue"]
    assert (stats.retries, stats.held, stats.held_ms, stats.requests) == (1, 2, 2.5, 0)
    assert (window.retries, window.held, window.held_ms) == (1, 2, None)


def test_requests_that_are_held_now_are_those_of_live_workers(metrics: SharedMetrics, writer: SlotWriter) -> None:
    other = metrics.claim_slot(os.getpid())
    for change in (1, 1, -1):
        writer.hold(change)
    other.hold(1)
    assert (metrics.held(), metrics.snapshot().held) == (2, 2)
    other.close()
    assert (metrics.held(), metrics.snapshot(10).held) == (1, 1)
    heir = metrics.claim_slot(os.getpid())
    assert (heir.slot, metrics.held()) == (other.slot, 1)
    heir.close()


def test_the_longest_hold_is_exact_the_others_nearly(metrics: SharedMetrics, writer: SlotWriter) -> None:
    for us in (30_000, 1_234_567, 250):
        writer.count_held(0, us)
    holds = blue(metrics).holds
    assert holds is not None
    assert (holds.count, holds.sum_ms, holds.max_ms) == (3, 1264.817, 1234.567)
    assert holds.p50_ms == pytest.approx(30.0, rel=1 / 64)
    assert metrics.snapshot().overall.holds == holds
    assert metrics.snapshot(10).versions["blue"].holds is None


def test_cut_requests_are_counted_and_named(metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
    for number in range(3):
        row = writer.start(1, b"GET", b"/r%d?q" % number, clock(), b"id-%d" % number)
        clock.advance(1)
        if number != 1:
            writer.count_cut(row, 1, TRUNCATED, clock())
        writer.finish(
            row, 1, status=200, cause=TRUNCATED if number != 1 else 0, total_us=1, first_byte_us=1, upstream_us=1
        )
    stats = metrics.snapshot().versions["green"]
    assert (stats.requests, stats.cut, stats.aborted, stats.failed) == (3, 2, 0, 2)
    assert [(cut.version, cut.request_id, cut.method, cut.path, cut.cause) for cut in metrics.cuts()] == [
        ("green", "id-0", "GET", "/r0", "upstream_truncated"),
        ("green", "id-2", "GET", "/r2", "upstream_truncated"),
    ]
    assert metrics.snapshot().cuts == metrics.cuts()


def test_the_last_cut_requests_of_a_slot_are_remembered(
    metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock
) -> None:
    for number in range(layout.ENDED + 5):
        row = writer.start(0, b"GET", b"/", clock(), b"id-%d" % number)
        writer.count_cut(row, 0, TRUNCATED, clock())
        writer.finish(row, 0, status=200, cause=TRUNCATED)
        clock.advance(1)
    assert [cut.request_id for cut in metrics.cuts()] == [f"id-{number}" for number in range(5, layout.ENDED + 5)]
    assert blue(metrics).cut == layout.ENDED + 5


def test_cut_request_without_a_row_is_counted_only(metrics: SharedMetrics, writer: SlotWriter) -> None:
    writer.count_cut(-1, 0, TRUNCATED, 0)
    assert (blue(metrics).cut, metrics.cuts()) == (1, [])


def test_versions_are_counted_apart_and_together(metrics: SharedMetrics, answer: Answer) -> None:
    for version, times in ((0, 1), (1, 2), (2, 3)):
        for _ in range(times):
            answer(version, bytes_out=10, total_us=1000 * times)
    for snapshot in (metrics.snapshot(), metrics.snapshot(10)):
        assert [stats.requests for stats in snapshot.versions.values()] == [1, 2, 3]
        assert (snapshot.overall.requests, snapshot.overall.bytes_proxied) == (6, 60)
        assert snapshot.overall.total.max_ms == pytest.approx(3.0, rel=1 / 8)
        assert snapshot.overall.total.sum_ms == 1 + 2 * 2 + 3 * 3


def test_rows_say_what_is_in_flight_oldest_first(metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
    writer.start(1, b"POST", b"/orders?token=secret", clock(), b"id-1")
    clock.advance(2)
    writer.start(0, b"GET", "/käse".encode("latin-1"), clock())
    clock.advance(1)
    rows = metrics.in_flight_rows()
    assert [(row.version, row.method, row.path, row.age_s, row.request_id) for row in rows] == [
        ("green", "POST", "/orders", 3.0, "id-1"),
        ("blue", "GET", "/käse", 1.0, ""),
    ]
    assert {row.pid for row in rows} == {os.getpid()}
    assert [row.version for row in metrics.in_flight_rows("blue")] == ["blue"]


def test_query_is_nowhere_in_the_file(metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
    writer.start(0, b"GET", b"/a?password=hunter2", clock())
    assert b"hunter2" not in metrics.path.read_bytes()


def test_long_targets_are_cut_to_fit(metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
    writer.start(0, b"GET", b"/" + b"x" * 500, clock(), b"i" * 128)
    [row] = metrics.in_flight_rows()
    assert row.request_id == "i" * 128
    assert len(f"{row.request_id} {row.method} {row.path}") == layout.ROW_TEXT_BYTES


@pytest.mark.parametrize("target", [b"/a", b"/" + b"x" * 500], ids=["short", "too long"])
def test_rows_say_which_backend_has_a_request(
    metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock, target: bytes
) -> None:
    row = writer.start(0, b"GET", target, clock(), b"id-1")
    writer.send_to(row, who("127.0.0.1:5015"))
    writer.send_to(-1, 1)  # one that has no row
    [seen] = metrics.in_flight_rows()
    assert (seen.backend, seen.request_id, seen.method) == (who("127.0.0.1:5015"), "id-1", "GET")
    assert target.decode().startswith(seen.path)
    writer.count_cut(row, 0, CAUSES.index("upstream_reset"), clock())
    writer.finish(row, 0, status=502, cause=CAUSES.index("upstream_reset"))
    assert [cut.backend for cut in metrics.cuts()] == [seen.backend]
    assert [one.backend for one in metrics.snapshot().failures] == [seen.backend]
    assert writer.start(0, b"GET", b"/b", clock()) == row
    assert [row.backend for row in metrics.in_flight_rows()] == [0]


def test_requests_beyond_the_table_are_counted_and_rows_are_used_again(
    metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock
) -> None:
    rows = [writer.start(0, b"GET", b"/", clock()) for _ in range(layout.ROWS + 1)]
    assert rows[-1] == -1
    assert len(set(rows)) == layout.ROWS + 1
    assert metrics.in_flight("blue") == layout.ROWS + 1
    assert len(metrics.in_flight_rows()) == layout.ROWS
    writer.unclaim(rows[-1], 0)
    for row in rows[:-2]:
        writer.finish(row, 0, status=200)
    writer.finish(-1, 0, status=200)
    assert metrics.in_flight("blue") == 0
    assert len(metrics.in_flight_rows()) == 1
    assert writer.start(0, b"GET", b"/", clock()) in rows


def test_heartbeat_and_state_fault_are_seen(metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
    clock.advance(5)
    writer.beat(clock(), state_fault=True)
    clock.advance(2)
    snapshot = metrics.snapshot()
    assert [worker.heartbeat_age_s for worker in snapshot.workers] == [2.0]
    assert snapshot.state_fault is True
    writer.beat(clock())
    assert metrics.snapshot().state_fault is False
