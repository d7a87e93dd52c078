"""What the workers say of a version's backends: added up over those that are well, and forgotten with the others."""

from __future__ import annotations

import os
from pathlib import Path

from app.metrics import layout
from app.metrics.shared import SharedMetrics, monotonic_us


def made(folder: Path) -> SharedMetrics:
    return SharedMetrics.create_or_attach(folder / "m.mmap", 16)


def test_workers_see_what_all_have_in_flight(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    here, there = (metrics.claim_slot(os.getpid()) for _ in range(2))
    ours, theirs = metrics.backends(here, 1), metrics.backends(there, 1)
    for backend in (0, 0, 2):
        ours.began(backend)
    theirs.began(2)
    for words in (ours, theirs):
        words.verdicts(3)
    assert ours.in_flight(3) == theirs.in_flight(3) == [2, 0, 2]
    assert metrics.backends(here, 0).in_flight(3) == [0, 0, 0]
    ours.ended(0)
    assert theirs.in_flight(4) == [1, 0, 2, 0]
    assert ours.own[:3] == [1, 0, 1]


def test_latest_word_and_any_doubt_hold_for_all(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    ours, theirs = (metrics.backends(metrics.claim_slot(os.getpid()), 0) for _ in range(2))
    ours.say_out(1, 500)
    theirs.say_out(1, 400)
    theirs.say_unwell(0, True)
    assert (ours.verdicts(2).out, ours.verdicts(2).unwell) == ([0, 500], [1, 0])
    theirs.say_unwell(0, False)
    assert ours.verdicts(2).unwell == [0, 0]


def test_who_hangs_does_not_count(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    here, there = (metrics.claim_slot(os.getpid()) for _ in range(2))
    metrics.backends(there, 0).began(0)
    there.beat(monotonic_us() - layout.FRESH_US - 1)
    ours = metrics.backends(here, 0)
    ours.verdicts(1)
    assert ours.in_flight(1) == [0]


def test_who_takes_a_dead_workers_place_begins_with_nothing(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    dead = metrics.claim_slot(os.getpid())
    words = metrics.backends(dead, 0)
    words.began(3)
    words.say_out(3, 77)
    words.say_unwell(3, True)
    dead.close()
    heir = metrics.claim_slot(os.getpid())
    assert heir.slot == dead.slot
    assert metrics.backends(heir, 0).in_flight(4) == [0] * 4
    assert metrics.backends(heir, 0).verdicts(4) == ([0] * 4, [0] * 4)


def test_worker_without_a_place_writes_into_nobody_elses(tmp_path: Path) -> None:
    metrics = SharedMetrics.create_or_attach(tmp_path / "m.mmap", 16)
    first, *_ = [metrics.claim_slot(os.getpid()) for _ in range(metrics.slots)]
    alone = metrics.claim_slot(os.getpid())
    words = metrics.backends(alone, 0)
    words.began(0)
    metrics.shares(alone).publish(41)
    others = metrics.backends(first, 0)
    others.verdicts(1)
    assert others.in_flight(1) == [0]
    assert words.in_flight(1) == [1]
    assert metrics.shares(first).least_of_others(monotonic_us()) is None
