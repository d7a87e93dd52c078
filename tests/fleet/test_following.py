"""What a node decides, one situation at a time; the orders of events are the model's."""

from __future__ import annotations

import pytest

from app.fleet.fleet_store import Expect, StoredValue, StoreSnapshot
from app.fleet.fleet_view import FleetView
from app.fleet.following import Act, Alarm, Order, Own, Says, next_of_node
from app.fleet.records import Desired, FleetRollout, NodeProgress, RolloutPhase, Stage
from tests.fleet.test_leading import COMMIT, COMMITTED, DRAINED, HOLDS, NEW, OLD, READY, ROLLOUT, view

AT_ONE = Own("a", 1, "r1", 1, 1)
TWO = Desired(2, "r2", NEW, OLD, "ann", 0.0)
HELD = HOLDS._replace(phase=RolloutPhase.HOLD)
READY_OWN = AT_ONE._replace(prepared="r2")


def order(step: object) -> tuple[Act, str]:
    assert isinstance(step, Order), step
    return step.act, step.rollout


def said(step: object) -> Stage:
    """What the node writes of itself."""
    assert isinstance(step, Says), step
    assert set(step.change.puts) == {"progress/r2/a"}
    return NodeProgress.from_json("", step.change.puts["progress/r2/a"]).stage


def ended(step: object) -> FleetRollout:
    """The rollout as the node ends it, while nobody leads it."""
    assert isinstance(step, Says), step
    assert Expect("lock", 0) in step.change.expects
    return FleetRollout.from_json("", step.change.puts["rollout/r2"])


def test_node_that_has_all_does_nothing() -> None:
    assert next_of_node(view(), AT_ONE) is None
    assert next_of_node(view(desired=None), Own("a")) is None


@pytest.mark.parametrize(
    ("seen", "own"),
    [
        (view(), Own("a")),
        (view(desired=TWO), AT_ONE),
        (view(COMMIT, READY, desired=TWO), READY_OWN),
        (view(COMMIT._replace(waves=(("b",),)), desired=TWO), AT_ONE),  # it came back, and has no part in it
        (view(COMMIT, READY, desired=TWO), READY_OWN._replace(held="r2")),  # the switch goes before the release
    ],
)
def test_what_is_committed_is_adopted(seen: FleetView, own: Own) -> None:
    assert order(next_of_node(seen, own))[0] is Act.ADOPT


@pytest.mark.parametrize(
    "own", [READY_OWN._replace(node="b"), READY_OWN._replace(resting=2), Own("a", 2, "r2", 2, 2, "r2")]
)
def test_nothing_is_adopted_before_its_wave_nor_right_after_a_failure_nor_twice(own: Own) -> None:
    assert next_of_node(view(COMMIT, READY, desired=TWO), own) is None


@pytest.mark.parametrize(
    ("seen", "own", "told"),
    [
        (view(), Own("a", 2, "r2", 2, 2), "has epoch 1, and this node has acted by 2"),
        (view(desired=None), AT_ONE, "has epoch 0"),
        (view(), Own("a", 1, "other", 0, 0), "another rollout for epoch 1"),
    ],
)
def test_older_epoch_is_an_alarm_and_never_obeyed(seen: FleetView, own: Own, told: str) -> None:
    step = next_of_node(seen, own)
    assert isinstance(step, Alarm) and told in step.text


@pytest.mark.parametrize("rollout", [None, HELD._replace(phase=RolloutPhase.ABORTED)])
def test_hold_ends_when_its_rollout_does(rollout: FleetRollout | None) -> None:
    step = next_of_node(view(rollout), READY_OWN._replace(held="r2"))
    assert order(step) == (Act.RESUME, "r2")


def test_node_takes_its_word_back_before_its_hold_ends_by_itself() -> None:
    own = READY_OWN._replace(held="r2", must_let_go=True)
    assert said(next_of_node(view(HELD, {"a": Stage.HOLDING}), own)) is Stage.WITHDRAWN
    assert order(next_of_node(view(HELD, {"a": Stage.WITHDRAWN}), own))[0] is Act.RESUME
    assert next_of_node(view(HELD, {"a": Stage.HOLDING}), own._replace(must_let_go=False)) is None


def test_agent_that_was_killed_while_it_held_says_that_it_does_not() -> None:
    assert said(next_of_node(view(HELD, {"a": Stage.HOLDING}), READY_OWN)) is Stage.WITHDRAWN


@pytest.mark.parametrize(
    ("rollout", "stages", "own"),
    [
        (ROLLOUT, {}, AT_ONE),
        (ROLLOUT, {"a": Stage.PREPARING}, READY_OWN),  # it was killed at that
        (ROLLOUT, READY, AT_ONE),
    ],
)
def test_node_prepares_what_it_has_a_part_in(rollout: FleetRollout, stages: dict[str, Stage], own: Own) -> None:
    assert order(next_of_node(view(rollout, stages), own)) == (Act.PREPARE, "r2")


def test_ready_node_holds_when_all_are_to() -> None:
    assert order(next_of_node(view(HELD, READY), READY_OWN)) == (Act.HOLD, "r2")
    assert next_of_node(view(ROLLOUT, READY), READY_OWN) is None


@pytest.mark.parametrize("stage", [Stage.FAILED, Stage.WITHDRAWN, Stage.TAKEN_BACK])
def test_node_that_is_out_has_no_further_part(stage: Stage) -> None:
    assert next_of_node(view(ROLLOUT, {"a": stage}), AT_ONE) is None


def test_rollout_of_an_epoch_that_is_not_higher_is_refused() -> None:
    assert said(next_of_node(view(ROLLOUT._replace(epoch=1)), AT_ONE)) is Stage.FAILED


def test_node_without_a_part_does_nothing() -> None:
    assert next_of_node(view(ROLLOUT), AT_ONE._replace(node="z")) is None


def test_rollout_that_nobody_leads_is_ended_by_a_node() -> None:
    assert ended(next_of_node(view(ROLLOUT, lock=0), AT_ONE)).phase is RolloutPhase.ABORTED
    whole = COMMIT._replace(wave=2)
    done = Own("a", 2, "r2", 2, 2)
    assert ended(next_of_node(view(whole, DRAINED, desired=TWO, lock=0), done)).phase is RolloutPhase.DONE
    assert next_of_node(view(whole, {"a": Stage.DRAINED}, desired=TWO, lock=0), done) is None
    assert next_of_node(view(COMMIT, DRAINED, desired=TWO, lock=0), done) is None


@pytest.mark.parametrize("rollout", [None, ROLLOUT._replace(phase=RolloutPhase.ABORTED)])
@pytest.mark.parametrize("desired", [COMMITTED, COMMITTED._replace(previous=None), None])
def test_what_came_to_nothing_is_taken_back(rollout: FleetRollout | None, desired: Desired | None) -> None:
    own = READY_OWN if desired is not None else Own("a", prepared="r2")
    assert order(next_of_node(view(rollout, desired=desired), own)) == (Act.TAKE_BACK, "r2")


def test_what_may_still_be_wanted_is_kept() -> None:
    assert next_of_node(view(COMMIT, READY, desired=TWO), READY_OWN._replace(node="b")) is None
    back = COMMITTED._replace(epoch=3, rollout="r3", previous=NEW)
    assert next_of_node(view(desired=back), Own("a", 3, "r3", 3, 3, "r2")) is None


def test_after_a_switch_the_requests_of_before_are_waited_for() -> None:
    own = Own("a", 2, "r2", 2, 1)
    assert order(next_of_node(view(desired=TWO), own)) == (Act.DRAIN, "r2")
    assert order(next_of_node(view(desired=TWO), own._replace(held="r2")))[0] is Act.RESUME


def test_empty_store_without_a_past_is_no_alarm() -> None:
    assert next_of_node(FleetView(StoreSnapshot(1, {"other": StoredValue("x", 1)})), Own("a")) is None
