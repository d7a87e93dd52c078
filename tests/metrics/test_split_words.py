"""What is counted of a split: summed over the workers, kept over their deaths, and a client counted once."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from app.canary.outcomes import Outcomes
from app.metrics import layout
from app.metrics.shared import SharedMetrics
from app.metrics.split_arms import SplitArm
from app.metrics.split_clients import FAILED, FIRST_REQUESTS, OPEN_FOR_S, SLOW50, SLOW95, Closed, SplitClients

BLUE, GREEN = 0, 1
NOTHING = SplitArm(Outcomes(), Outcomes(), 0)


def made(folder: Path) -> SharedMetrics:
    return SharedMetrics.create_or_attach(folder / "m.mmap", 16)


def test_workers_counts_are_added_up_by_version_and_unit(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    assert metrics.split_arms() == (NOTHING, NOTHING)
    ours, theirs = (metrics.split(metrics.claim_slot(os.getpid())) for _ in range(2))
    for words, bits in ((ours, 0), (ours, FAILED | SLOW50), (theirs, SLOW50 | SLOW95), (theirs, FAILED)):
        words.count_request(GREEN, bits)
    theirs.count_client(BLUE, FAILED)
    assert metrics.split_arms() == (
        NOTHING._replace(clients=Outcomes(1, 1)),
        NOTHING._replace(requests=Outcomes(4, 2, 2, 1)),
    )


def test_what_a_dead_worker_has_counted_stays_and_what_it_has_seen_does_not(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    dead, other = (metrics.claim_slot(os.getpid()) for _ in range(2))
    for writer, seen in ((dead, 7), (other, 3)):
        words = metrics.split(writer)
        words.count_request(GREEN, FAILED)
        words.say_seen(GREEN, seen)
    assert metrics.split_arms()[GREEN] == SplitArm(Outcomes(2, 2), Outcomes(), 7)
    dead.close()
    assert metrics.split_arms()[GREEN] == SplitArm(Outcomes(2, 2), Outcomes(), 3)
    heir = metrics.claim_slot(os.getpid())
    assert heir.slot == dead.slot
    metrics.split(heir).count_request(GREEN, 0)
    assert metrics.split_arms()[GREEN] == SplitArm(Outcomes(3, 2), Outcomes(), 3)


@pytest.fixture
def clients(tmp_path: Path) -> SplitClients:
    metrics = made(tmp_path)
    return metrics.split_clients(metrics.claim_slot(os.getpid()))


def note(clients: SplitClients, *bits: int, key: int = 77, epoch: int = 9, version: int = GREEN) -> list[int]:
    return [clients.note(key, epoch, version, one, 1000) for one in bits]


def test_a_client_counts_once_with_its_first_failure(clients: SplitClients) -> None:
    assert note(clients, 0, 0, FAILED, FAILED, 0, FAILED) == [-1, -1, FAILED, -1, -1, -1]


def test_a_client_without_a_failure_counts_with_its_tenth_request(clients: SplitClients) -> None:
    assert note(clients, *[0] * FIRST_REQUESTS, FAILED) == [-1] * (FIRST_REQUESTS - 1) + [0, -1]


def test_the_times_of_a_client_are_those_of_its_first_request(clients: SplitClients) -> None:
    assert note(clients, SLOW50 | SLOW95, 0, FAILED)[-1] == FAILED | SLOW50 | SLOW95
    assert note(clients, 0, SLOW50 | FAILED, key=78)[-1] == FAILED


def test_with_another_weight_a_client_begins_anew(clients: SplitClients) -> None:
    assert note(clients, FAILED, FAILED) == [FAILED, -1]
    assert note(clients, FAILED, epoch=10, version=BLUE) == [FAILED]


def test_a_client_that_is_sent_elsewhere_does_not_count_there(clients: SplitClients) -> None:
    note(clients, 0)
    assert note(clients, FAILED, version=BLUE) == [-1]


def test_workers_know_a_client_together(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    one, other = (metrics.split_clients(metrics.claim_slot(os.getpid())) for _ in range(2))
    assert note(one, 0, FAILED) == [-1, FAILED]
    assert note(other, FAILED) == [-1]


def test_a_client_that_falls_silent_counts_after_a_while_once(clients: SplitClients) -> None:
    def swept(now_s: int, epoch: int = 9) -> list[Closed]:
        return [closed for _ in range(8) for closed in clients.sweep(epoch, now_s)]

    note(clients, SLOW50)
    note(clients, FAILED, key=78)
    assert swept(1000 + OPEN_FOR_S - 1) == []
    assert swept(1000 + OPEN_FOR_S, epoch=10) == []
    assert swept(1000 + OPEN_FOR_S) == [Closed(GREEN, SLOW50)]
    assert swept(1000 + OPEN_FOR_S) == []
    assert note(clients, FAILED) == [-1]


def test_more_clients_than_there_is_room_for_are_not_counted_at_either_version(clients: SplitClients) -> None:
    meeting = [5 + layout.CLIENT_SETS * number for number in range(layout.CLIENT_WAYS + 2)]
    found = [
        note(clients, FAILED, key=key, version=version % 2)[0] for key, version in zip(meeting, count(), strict=False)
    ]
    assert found == [FAILED] * layout.CLIENT_WAYS + [-1, -1]
    assert note(clients, FAILED, key=meeting[-1], epoch=11) == [FAILED], "in another epoch all places are free"
