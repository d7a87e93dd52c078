"""A version's circuit: failures in a row open it, an answer closes it."""

from __future__ import annotations

import pytest

from app.proxy.circuit import Circuit, CircuitState


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_failures_in_a_row_open_it_once(clock: Clock) -> None:
    circuit = Circuit(3, clock)
    assert [circuit.failed() for _ in range(5)] == [False, False, True, False, False]
    assert (circuit.state, circuit.is_open, circuit.failures) == (CircuitState.OPEN, True, 5)


def test_answer_between_failures_begins_the_row_anew(clock: Clock) -> None:
    circuit = Circuit(2, clock)
    for _ in range(3):
        assert not circuit.failed()
        circuit.succeeded()
    assert circuit.state is CircuitState.CLOSED


def test_threshold_of_zero_never_opens_it(clock: Clock) -> None:
    circuit = Circuit(0, clock)
    assert not any(circuit.failed() for _ in range(100))


def test_half_open_one_is_opened_by_one_failure_and_closed_by_one_answer(clock: Clock) -> None:
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


def test_closed_one_cannot_be_half_open(clock: Clock) -> None:
    circuit = Circuit(3, clock)
    circuit.try_again()
    assert circuit.state is CircuitState.CLOSED


def test_it_knows_since_when_the_version_fails(clock: Clock) -> None:
    circuit = Circuit(2, clock)
    assert circuit.failing_for_s == 0
    circuit.failed()
    clock.now += 4
    circuit.failed()
    assert circuit.failing_for_s == 4
    circuit.succeeded()
    clock.now += 1
    assert circuit.failing_for_s == 0
