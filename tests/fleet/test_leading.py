"""What a coordinator decides, one situation at a time; the orders of events are the model's."""

from __future__ import annotations

import json

import pytest

from app.fleet.fleet_store import Expect, StoredValue, StoreSnapshot
from app.fleet.fleet_view import Change, FleetView
from app.fleet.leading import (
    Asked,
    Mine,
    RolloutEnd,
    Waits,
    begin,
    begin_way_back,
    next_of_leader,
    take_lock,
)
from app.fleet.records import (
    Desired,
    FleetRollout,
    Initiator,
    NodeProgress,
    RolloutPhase,
    Stage,
    Wanted,
)
from app.operator_errors import OperatorError, UsageError

ME = Initiator("ann on a", 1.0)
LOCK = 40
OLD, NEW = Wanted("r1", "one"), Wanted("r2", "two")
COMMITTED = Desired(1, "r1", OLD, Wanted(""), "ann", 0.0)
ROLLOUT = FleetRollout(
    *("r2", 2, NEW, RolloutPhase.PREPARE, (("a",), ("b",)), 0, 0.0, 0.0, 2, OLD, Wanted("")),
    is_way_back=False,
    by="ann",
    at=0.0,
)
READY = {"a": Stage.READY, "b": Stage.READY}
SWITCHED = {"a": Stage.SWITCHED, "b": Stage.SWITCHED}
DRAINED = {"a": Stage.DRAINED, "b": Stage.DRAINED}


def view(
    rollout: FleetRollout | None = None,
    stages: dict[str, Stage] | None = None,
    *,
    nodes: tuple[str, ...] = ("a", "b"),
    desired: Desired | None = COMMITTED,
    lock: int = LOCK,
    paused: bool = False,
) -> FleetView:
    """A store with these in it."""
    entries = {f"nodes/{node}": StoredValue('{"epoch": 1}', 5) for node in nodes}
    if desired is not None:
        entries["desired"] = StoredValue(desired.to_json(), 10)
    if rollout is not None:
        entries[f"rollout/{rollout.id}"] = StoredValue(rollout.to_json(), 20)
        for number, (node, stage) in enumerate((stages or {}).items()):
            key = f"progress/{rollout.id}/{node}"
            entries[key] = StoredValue(NodeProgress(stage, "why" * (stage is Stage.FAILED)).to_json(), 30 + number)
    if lock:
        entries["lock"] = StoredValue(ME.to_json(), lock, 7)
    if paused:
        entries["paused"] = StoredValue(ME.to_json(), 8)
    return FleetView(StoreSnapshot(50, entries))


def mine(**more: object) -> Mine:
    return Mine("r2", LOCK, **more)  # type: ignore[arg-type]  # each test names fields of it


def changed(step: object) -> FleetRollout:
    """The rollout r2 as the change leaves it."""
    assert isinstance(step, Change), step
    return FleetRollout.from_json("rollout/r2", step.puts["rollout/r2"])


def test_lock_is_taken_where_nobody_has_it() -> None:
    assert take_lock(view(lock=0), ME).expects == (Expect("lock", 0),)
    with pytest.raises(OperatorError, match="ann on a leads"):
        take_lock(view(), ME)
    with pytest.raises(OperatorError, match="was paused by"):
        take_lock(view(lock=0, paused=True), ME)


def test_deploy_begins_on_all_nodes_with_an_epoch_above_all_that_was_seen() -> None:
    left = ROLLOUT._replace(id="r0", epoch=8)
    rollout, change = begin(view(left), LOCK, Asked(Wanted("", "two")), "r9", ME)
    assert (rollout.epoch, rollout.waves, rollout.was, rollout.min_nodes) == (9, (("a", "b"),), OLD, 2)
    assert rollout.wanted == Wanted("r9", "two")
    assert Expect("lock", LOCK) in change.expects and Expect("rollout/r9", 0) in change.expects
    assert FleetRollout.from_json("", change.puts["rollout/r0"]).phase is RolloutPhase.ABORTED


def test_first_deploy_remembers_that_each_node_had_something_of_its_own() -> None:
    rollout, _ = begin(view(desired=None), LOCK, Asked(Wanted("", "two"), min_nodes=1), "r9", ME)
    assert (rollout.was, rollout.was_previous, rollout.min_nodes, rollout.epoch) == (Wanted(""), None, 1, 2)


@pytest.mark.parametrize(
    ("seen", "asked", "told"),
    [
        (view(nodes=()), Asked(NEW), "no node of the fleet is registered"),
        (view(ROLLOUT._replace(phase=RolloutPhase.COMMIT)), Asked(NEW), "not all nodes have it"),
        (view(), Asked(NEW, min_nodes=3), "2 of at least 3 nodes"),
    ],
)
def test_deploy_that_cannot_begin_is_refused(seen: FleetView, asked: Asked, told: str) -> None:
    with pytest.raises(OperatorError, match=told):
        begin(seen, LOCK, asked, "r9", ME)


def test_waves_and_together_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--together"):
        begin(view(), LOCK, Asked(NEW, waves="1,100%", hold_s=2.0), "r9", ME)


def test_rollback_commits_what_was_before_in_the_change_that_begins_it() -> None:
    rollout, change = begin_way_back(view(ROLLOUT), LOCK, "r9", ME)
    desired = Desired.from_json("", change.puts["desired"])
    assert (desired.wanted, desired.previous, desired.epoch) == (Wanted(""), OLD, 3)
    assert rollout.phase is RolloutPhase.COMMIT and changed(change).phase is RolloutPhase.ABORTED


@pytest.mark.parametrize("desired", [None, COMMITTED._replace(previous=None)])
def test_rollback_to_nothing_is_refused(desired: Desired | None) -> None:
    with pytest.raises(OperatorError, match="nothing to roll back to"):
        begin_way_back(view(desired=desired), LOCK, "r9", ME)


@pytest.mark.parametrize(
    ("seen", "me", "told"),
    [
        (view(), mine(), "backup"),
        (view(ROLLOUT), mine(seen=51), "backup"),
        (view(ROLLOUT, lock=0), mine(), "another command"),
        (view(ROLLOUT, lock=41), mine(), "another command"),
    ],
)
def test_who_no_longer_leads_ends(seen: FleetView, me: Mine, told: str) -> None:
    step = next_of_leader(seen, me)
    assert isinstance(step, RolloutEnd) and not step.is_done and told in step.note


def test_commit_compares_the_lock_the_rollout_what_was_committed_and_each_nodes_word() -> None:
    step = next_of_leader(view(ROLLOUT, READY), mine())
    assert isinstance(step, Change)
    assert set(step.expects) == {
        *(Expect("lock", LOCK), Expect("rollout/r2", 20), Expect("desired", 10)),
        *(Expect("progress/r2/a", 30), Expect("progress/r2/b", 31)),
    }
    assert (changed(step).phase, changed(step).wave) == (RolloutPhase.COMMIT, 1)
    desired = json.loads(step.puts["desired"])
    assert (desired["epoch"], desired["wanted"]["release"], desired["previous"]["release"]) == (2, "two", "one")


HOLDS = ROLLOUT._replace(hold_s=2.0, waves=(("a", "b"),))


def test_together_all_hold_between_ready_and_commit() -> None:
    assert changed(next_of_leader(view(HOLDS, READY), mine())).phase is RolloutPhase.HOLD
    held = view(HOLDS._replace(phase=RolloutPhase.HOLD), {"a": Stage.HOLDING, "b": Stage.HOLDING})
    assert changed(next_of_leader(held, mine())).phase is RolloutPhase.COMMIT


@pytest.mark.parametrize(
    ("rollout", "stages", "nodes", "me", "told"),
    [
        (ROLLOUT, {"a": Stage.READY, "b": Stage.FAILED}, ("a", "b"), mine(), "b failed: why"),
        (HOLDS, {"a": Stage.WITHDRAWN}, ("a", "b"), mine(), "a could hold its requests no longer"),
        (ROLLOUT, {"a": Stage.TAKEN_BACK}, ("a", "b"), mine(), "a has taken back"),
        (ROLLOUT, READY, ("a",), mine(lost=frozenset("b")), "nothing was heard of b"),
        (HOLDS._replace(min_nodes=1), READY, ("a",), mine(lost=frozenset("b")), "nothing was heard of b"),
        (HOLDS, READY, ("a", "b", "c"), mine(), "c has joined the fleet"),
        (ROLLOUT, {"a": Stage.READY}, ("a", "b"), mine(is_over=True), "b did not come so far in time"),
    ],
)
def test_before_the_commit_one_obstacle_ends_it(
    rollout: FleetRollout, stages: dict[str, Stage], nodes: tuple[str, ...], me: Mine, told: str
) -> None:
    ended = changed(next_of_leader(view(rollout, stages, nodes=nodes), me))
    assert ended.phase is RolloutPhase.ABORTED and told in ended.note


def test_lost_node_beyond_the_least_number_is_left_out() -> None:
    seen = view(ROLLOUT._replace(min_nodes=1), {"a": Stage.READY}, nodes=("a",))
    assert changed(next_of_leader(seen, mine(lost=frozenset("b")))).waves == (("a",),)


def test_nodes_that_are_not_ready_are_waited_for() -> None:
    assert next_of_leader(view(ROLLOUT, {"a": Stage.READY, "b": Stage.PREPARING}), mine()) == Waits(("b",))


COMMIT = ROLLOUT._replace(phase=RolloutPhase.COMMIT, wave=1)
LAST = COMMIT._replace(wave=2)
WATCHED = COMMIT._replace(watch_s=60.0)


@pytest.mark.parametrize(
    ("rollout", "stages", "paused", "me", "waits"),
    [
        (COMMIT, READY, False, mine(watched=""), Waits(("a",))),
        (LAST, SWITCHED, False, mine(watched=""), Waits(("a", "b"))),
        (WATCHED, SWITCHED, False, mine(), Waits((), "watching")),
        (COMMIT, SWITCHED, True, mine(watched=""), Waits((), "paused by ann on a")),
    ],
)
def test_after_the_commit_it_waits(
    rollout: FleetRollout, stages: dict[str, Stage], paused: bool, me: Mine, waits: Waits
) -> None:
    assert next_of_leader(view(rollout, stages, paused=paused), me) == waits


def test_next_wave_comes_when_the_one_before_has_switched() -> None:
    assert changed(next_of_leader(view(COMMIT, SWITCHED), mine(watched=""))).wave == 2


@pytest.mark.parametrize(
    ("stages", "me", "note"),
    [
        (DRAINED, mine(), ""),
        (SWITCHED, mine(is_over=True), "a, b still busy"),
        ({"a": Stage.DRAINED}, mine(lost=frozenset("b")), "b not heard of"),
    ],
)
def test_rollout_is_done_when_all_have_switched(stages: dict[str, Stage], me: Mine, note: str) -> None:
    done = changed(next_of_leader(view(LAST, stages), me))
    assert (done.phase, done.note) == (RolloutPhase.DONE, note)


@pytest.mark.parametrize(
    ("stages", "me", "told"),
    [
        ({"a": Stage.FAILED, "b": Stage.READY}, mine(), "a could not switch"),
        (READY, mine(is_over=True), "a did not switch in time"),
        (SWITCHED, mine(watched="the nodes do worse"), "the nodes do worse"),
    ],
)
def test_after_the_commit_it_goes_back_by_a_higher_epoch(stages: dict[str, Stage], me: Mine, told: str) -> None:
    step = next_of_leader(view(COMMIT, stages), me)
    assert changed(step).phase is RolloutPhase.ABORTED and isinstance(step, Change)
    desired = Desired.from_json("", step.puts["desired"])
    assert (desired.epoch, desired.wanted, desired.previous) == (3, OLD, Wanted(""))
    back = FleetRollout.from_json("", step.puts["rollout/r2-back"])
    assert (back.is_way_back, back.nodes, back.note) == (True, ("a", "b"), told)


def test_first_release_goes_back_to_what_each_node_had() -> None:
    step = next_of_leader(view(COMMIT._replace(was=None), READY), mine(is_over=True))
    assert isinstance(step, Change) and json.loads(step.puts["desired"])["wanted"]["origin"] == ""


@pytest.mark.parametrize("me", [mine(is_over=True), mine(is_over=True, watched="worse")])
def test_way_back_is_never_taken_back(me: Mine) -> None:
    back = COMMIT._replace(is_way_back=True, waves=(("a", "b"),))
    done = changed(next_of_leader(view(back, {"a": Stage.FAILED, "b": Stage.READY}), me))
    assert (done.phase, done.note) == (RolloutPhase.DONE, "a failed; b still busy")


@pytest.mark.parametrize("phase", [RolloutPhase.DONE, RolloutPhase.ABORTED])
def test_ended_rollout_is_over_whoever_has_the_lock(phase: RolloutPhase) -> None:
    step = next_of_leader(view(ROLLOUT._replace(phase=phase, note="so"), lock=0), mine())
    assert step == RolloutEnd(phase is RolloutPhase.DONE, "so")
