"""Columns of the past, read once each."""

from __future__ import annotations

from app.dashboard.observation import Column
from app.dashboard.timeline import Timeline
from app.metrics.snapshot import Series


class Metrics:
    """Gives each tick its own number as its requests, and notes what was read."""

    def __init__(self) -> None:
        self.read: list[range] = []

    def series(self, ticks: range, step: int) -> dict[str, Series]:
        """The metrics' method of that name."""
        self.read.append(ticks)
        own = list(ticks)
        blue = Series(own, [1] * len(own), [float(tick) for tick in own], [2.0 * tick for tick in own], own)
        none = Series([0] * len(own), [0] * len(own), [None] * len(own), [None] * len(own), [0] * len(own))
        return {"blue": blue, "green": none, "router": none}


def timeline(metrics: Metrics, columns: int = 5, pauses: list[int] | None = None) -> Timeline:
    """Columns of 2 s."""
    told = pauses if pauses is not None else []
    return Timeline(1, 2, columns, metrics.series, lambda: told.append(len(metrics.read)))


def test_column_adds_up_its_steps() -> None:
    newest = timeline(Metrics()).past(102.7, 1001.2).columns[-1]
    assert newest.blue.requests == 98 + 99
    assert newest.blue.failed == 2
    assert newest.blue.p50_ms == 99.0  # of the busier step
    assert newest.blue.p95_ms == 198.0
    assert newest.blue.in_flight == 99
    assert newest.green.p95_ms is None


def test_only_complete_columns_and_their_end_in_wall_time() -> None:
    past = timeline(Metrics()).past(102.7, 1001.2)
    assert (past.end, past.start, past.span_s) == (998.5, 988.5, 10)


def test_only_what_is_new_is_read() -> None:
    metrics = Metrics()
    seen = timeline(metrics)
    seen.past(102.7, 1001.2)
    metrics.read.clear()
    past = seen.past(105.3, 1003.8)
    assert metrics.read == [range(100, 104)]
    assert [column.blue.requests for column in past.columns][-2:] == [201, 205]
    assert len(past.columns) == 5


def test_nothing_is_read_within_a_column() -> None:
    metrics = Metrics()
    seen = timeline(metrics)
    first = seen.past(101.3, 1000.0)
    metrics.read.clear()
    assert seen.past(103.1, 1001.8) is first
    assert metrics.read == []


def test_long_absence_reads_no_more_than_is_shown() -> None:
    metrics = Metrics()
    seen = timeline(metrics)
    seen.past(101.2, 1000)
    metrics.read.clear()
    assert len(seen.past(9001.2, 9900).columns) == 5
    assert metrics.read == [range(8990, 9000)]


def test_much_is_read_in_slices_with_pauses() -> None:
    metrics = Metrics()
    pauses: list[int] = []
    timeline(metrics, 300, pauses).past(1001.2, 1000)
    assert max(len(ticks) for ticks in metrics.read) <= 60
    assert len(pauses) == len(metrics.read) - 1


def test_time_before_the_clocks_zero_is_empty() -> None:
    past = timeline(Metrics()).past(6.2, 1000.0)
    assert len(past.columns) == 5
    assert past.columns[:3] == (Column(),) * 3
    assert past.columns[3].blue.requests == 1
