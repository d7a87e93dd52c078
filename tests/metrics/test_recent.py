"""What the metrics remember of a version, second by second and ten by ten, as an operator is told of it."""

from __future__ import annotations

import pytest

from app.metrics.recent import Recently
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from tests.support.fake_clock import FakeClock


class Life:
    """A blue version that is asked; time passes as it is told."""

    def __init__(self, metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> None:
        self.metrics, self.writer, self.clock = metrics, writer, clock
        metrics.try_lead()

    def ask(self, seconds: int, *, per_s: int = 2, failing: int = 0, took_ms: float = 5.0) -> None:
        """So many seconds of so many requests, some of which fail."""
        for _ in range(seconds):
            for number in range(per_s):
                row = self.writer.start(0, b"GET", b"/cart", self.clock(), b"id-1")
                status, took_us = (500 if number < failing else 200), int(took_ms * 1000)
                self.writer.finish(row, 0, status=status, total_us=took_us, first_byte_us=took_us, upstream_us=took_us)
            self.clock.advance(1)
            self.metrics.fold()

    def recently(self) -> Recently:
        return Recently(self.metrics, lambda: self.clock() / 1e6)


@pytest.fixture
def life(metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock) -> Life:
    return Life(metrics, writer, clock)


def test_failures_are_known_by_kind_and_by_when_they_began(life: Life) -> None:
    life.ask(300)
    life.ask(100, failing=1)
    found = life.recently().of("blue", None)
    assert found.failed == 59, "the running second has had none"
    [kind] = found.failures
    assert (kind.times, kind.cause, kind.status, kind.path) == (59, "", "500", "/cart")
    assert found.failing_for_s == 100.0


def test_a_gap_of_half_a_minute_makes_another_beginning(life: Life) -> None:
    life.ask(50, failing=1)
    life.ask(31)
    life.ask(20, failing=2)
    assert life.recently().of("blue", None).failing_for_s == 20.0


def test_a_shorter_gap_does_not(life: Life) -> None:
    life.ask(50, failing=1)
    life.ask(20)
    life.ask(20, failing=2)
    assert life.recently().of("blue", None).failing_for_s == 90.0


def test_what_failed_before_the_process_was_started_is_not_its_own(life: Life) -> None:
    life.ask(40, failing=2)
    life.ask(10)
    found = life.recently().of("blue", 10.0)
    assert (found.failed, found.failures) == (0, ())


def test_the_usual_p95_is_that_of_the_half_hour_before_the_last_minute(life: Life) -> None:
    life.ask(600, took_ms=8)
    life.ask(60, took_ms=400)
    found = life.recently().of("blue", None)
    assert found.p95_ms == pytest.approx(400, rel=0.13)
    assert found.usual_p95_ms == pytest.approx(8, rel=0.13)


def test_of_a_short_past_nothing_is_usual(life: Life) -> None:
    life.ask(200, took_ms=8)
    assert life.recently().of("blue", None).usual_p95_ms is None
