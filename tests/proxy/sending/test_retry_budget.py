"""The retry budget: a share of the last ten seconds' requests, and a floor."""

from __future__ import annotations

import pytest

from app.proxy.sending.retry_budget import RetryBudget


class Traffic:
    """Counts requests."""

    def __init__(self) -> None:
        self.count = 1000

    def __call__(self) -> int:
        return self.count


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


def spend(budget: RetryBudget, most: int = 10_000) -> int:
    """Takes what there is."""
    return sum(budget.take() for _ in range(most))


def test_floor_needs_no_traffic(traffic: Traffic) -> None:
    budget = RetryBudget(0.2, 3, traffic)
    assert (budget.left, spend(budget), budget.left) == (30, 30, 0)


def test_share_of_the_requests_is_added(traffic: Traffic) -> None:
    budget = RetryBudget(0.2, 0, traffic)
    assert not budget.take()
    traffic.count += 100
    assert spend(budget) == 20


def test_what_was_spent_comes_back_after_ten_seconds(traffic: Traffic) -> None:
    budget = RetryBudget(0.0, 1, traffic)
    assert spend(budget) == 10
    for _ in range(9):
        budget.tick()
        assert spend(budget) == 0
    budget.tick()
    assert spend(budget) == 10


def test_requests_count_for_ten_seconds(traffic: Traffic) -> None:
    budget = RetryBudget(0.5, 0, traffic)
    traffic.count += 10
    for _ in range(9):
        budget.tick()
    assert budget.left == 5
    budget.tick()
    assert budget.left == 0


def test_nothing_is_nothing(traffic: Traffic) -> None:
    budget = RetryBudget(0.0, 0, traffic)
    traffic.count += 1_000_000
    assert not budget.take()


def test_it_never_owes(traffic: Traffic) -> None:
    budget = RetryBudget(1.0, 0, traffic)
    traffic.count += 5
    assert spend(budget) == 5
    for _ in range(20):
        budget.tick()
        assert budget.left >= 0
