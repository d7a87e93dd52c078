"""A version's circuit: failures in a row open it, an answer closes it."""

from __future__ import annotations

import pytest

from app.routing.circuit import Circuit, CircuitState, FailureShare
from tests.support.fake_clock import FakeSeconds


@pytest.fixture
def clock() -> FakeSeconds:
    return FakeSeconds()


def test_failures_in_a_row_open_it_once(clock: FakeSeconds) -> None:
    circuit = Circuit(3, clock)
    assert [circuit.failed() for _ in range(5)] == [False, False, True, False, False]
    assert (circuit.state, circuit.is_open, circuit.failures) == (CircuitState.OPEN, True, 5)


def test_answer_between_failures_begins_the_row_anew(clock: FakeSeconds) -> None:
    circuit = Circuit(2, clock)
    for _ in range(3):
        assert not circuit.failed()
        circuit.succeeded()
    assert circuit.state is CircuitState.CLOSED


def test_threshold_of_zero_never_opens_it(clock: FakeSeconds) -> None:
    circuit = Circuit(0, clock)
    assert not any(circuit.failed() for _ in range(100))


def test_half_open_one_is_opened_by_one_failure_and_closed_by_one_answer(clock: FakeSeconds) -> None:
    circuit = Circuit(3, clock)
    for _ in range(3):
        circuit.failed()
    circuit.try_again()
    assert circuit.state.value == "half-open"
    assert circuit.failed()
    circuit.try_again()
    circuit.succeeded()
    assert circuit.state.value == "closed"
    assert not circuit.failed()


def test_closed_one_cannot_be_half_open(clock: FakeSeconds) -> None:
    circuit = Circuit(3, clock)
    circuit.try_again()
    assert circuit.state is CircuitState.CLOSED


def test_it_knows_since_when_the_version_fails(clock: FakeSeconds) -> None:
    circuit = Circuit(2, clock)
    assert circuit.failing_for_s == 0
    circuit.failed()
    clock.now += 4
    circuit.failed()
    assert circuit.failing_for_s == 4
    circuit.succeeded()
    clock.now += 1
    assert circuit.failing_for_s == 0


class TestFailureShare:
    """What counts of a backend's failures besides those in a row."""

    def test_failures_of_long_ago_count_no_more(self) -> None:
        now = 0.0
        share = FailureShare(lambda: now)
        for second in range(60):
            now = float(second)
            assert not share.count(second % 2), "never as many as twenty within ten seconds"
        now = 100.0
        assert share.is_nothing
        assert not share.count(1)
        assert not share.is_nothing

    def test_half_of_twenty_are_too_many(self) -> None:
        now = 0.0
        share = FailureShare(lambda: now)
        for _ in range(10):
            assert not share.count(0)
        now = 6.0
        assert [share.count(1) for _ in range(10)] == [False] * 9 + [True]
        now = 11.0
        assert not share.count(0), "those before have gone"

    def test_clock_that_goes_back_forgets_nothing(self) -> None:
        now = 50.0
        share = FailureShare(lambda: now)
        share.count(1)
        now = 0.0
        assert not share.is_nothing
