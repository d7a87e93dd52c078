"""Who sends requests to the standby, told once for all workers."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from app.metrics.leader import Turn
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from tests.support.fake_clock import FakeClock

BLUE_IS_LEFT, BLUE_IS_BACK = Turn(0, is_back=False), Turn(0, is_back=True)
GREEN_IS_LEFT = Turn(1, is_back=False)


@pytest.fixture
def second(metrics: SharedMetrics) -> Iterator[SlotWriter]:
    writer = metrics.claim_slot(os.getpid())
    yield writer
    writer.close()


def test_failover_of_many_workers_is_one_turn_there_and_one_back(
    leader: SharedMetrics, clock: FakeClock, writer: SlotWriter, second: SlotWriter
) -> None:
    assert leader.follow_failover() == []
    writer.divert(0, clock())
    assert leader.failover().version == "blue", "known before the leader has seen it"
    assert (leader.failover().since, leader.failover().count) == (None, 0)
    assert leader.follow_failover() == [BLUE_IS_LEFT]
    for _ in range(2):
        second.divert(0, clock())
        assert leader.follow_failover() == []
    found = leader.failover()
    assert (found.version, found.workers, found.count, found.since is None) == ("blue", 2, 1, False)
    writer.divert(None, clock())
    assert leader.follow_failover() == []
    second.divert(None, clock())
    assert leader.follow_failover() == [BLUE_IS_BACK]
    assert leader.follow_failover() == []
    found = leader.snapshot().failover
    assert (found.version, found.workers, found.count, found.since) == (None, 0, 1, None)


def test_failover_between_two_looks_is_told_all_the_same(
    leader: SharedMetrics, clock: FakeClock, writer: SlotWriter
) -> None:
    writer.divert(1, clock())
    writer.divert(None, clock())
    assert leader.follow_failover() == [GREEN_IS_LEFT, Turn(1, is_back=True)]
    assert leader.follow_failover() == []
    assert leader.failover().count == 1


def test_it_is_the_latest_that_is_told(
    leader: SharedMetrics, clock: FakeClock, writer: SlotWriter, second: SlotWriter
) -> None:
    writer.divert(1, clock())
    writer.divert(None, clock())
    assert leader.follow_failover()[0] == GREEN_IS_LEFT
    clock.advance(1)
    second.divert(0, clock())
    second.divert(None, clock())
    assert leader.follow_failover() == [BLUE_IS_LEFT, BLUE_IS_BACK]
    assert leader.failover().count == 2


def test_failover_that_is_interrupted_between_two_looks_goes_on(
    leader: SharedMetrics, clock: FakeClock, writer: SlotWriter
) -> None:
    for _ in range(3):
        writer.divert(0, clock())
        leader.follow_failover()
        clock.advance(0.5)
        writer.divert(None, clock())
    assert leader.follow_failover() == [BLUE_IS_BACK]
    assert leader.failover().count == 1


def test_the_other_version_may_fail_next(leader: SharedMetrics, clock: FakeClock, writer: SlotWriter) -> None:
    writer.divert(0, clock())
    assert leader.follow_failover() == [BLUE_IS_LEFT]
    writer.divert(1, clock())  # a switch, and green is down as well
    assert leader.follow_failover() == [BLUE_IS_BACK, GREEN_IS_LEFT]
    assert leader.failover().count == 2


def test_the_other_version_may_fail_next_and_be_well_before_the_next_look(
    leader: SharedMetrics, clock: FakeClock, writer: SlotWriter
) -> None:
    writer.divert(0, clock())
    assert leader.follow_failover() == [BLUE_IS_LEFT]
    clock.advance(0.5)
    writer.divert(1, clock())
    writer.divert(None, clock())
    assert leader.follow_failover() == [BLUE_IS_BACK, GREEN_IS_LEFT, Turn(1, is_back=True)]
    assert leader.follow_failover() == []


def test_worker_that_dies_diverts_no_more(
    leader: SharedMetrics, clock: FakeClock, writer: SlotWriter, second: SlotWriter
) -> None:
    second.divert(0, clock())
    assert leader.follow_failover() == [BLUE_IS_LEFT]
    second.close()
    assert leader.failover().workers == 0
    heir = leader.claim_slot(os.getpid())
    assert (heir.slot, leader.failover().workers) == (second.slot, 0)
    assert leader.follow_failover() == [BLUE_IS_BACK]
    heir.divert(0, clock())
    assert leader.follow_failover() == [BLUE_IS_LEFT]
    heir.close()


def test_the_next_leader_knows_what_was_told(leader: SharedMetrics, clock: FakeClock, writer: SlotWriter) -> None:
    writer.divert(0, clock())
    assert leader.follow_failover() == [BLUE_IS_LEFT]
    other = SharedMetrics.create_or_attach(leader.path, 4, clock)
    assert not other.try_lead()
    leader._leader_locks.close()  # type: ignore[union-attr]  # as its death would
    assert other.try_lead()
    assert other.follow_failover() == []
    writer.divert(None, clock())
    assert other.follow_failover() == [BLUE_IS_BACK]
    other.close()
