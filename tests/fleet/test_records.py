"""What stands in the store comes back as it was, and what is not ours is told by its key."""

from __future__ import annotations

import json

import pytest

from app.fleet.fleet_store import StoredValue, StoreSnapshot
from app.fleet.fleet_view import FleetView
from app.fleet.records import (
    FORMAT,
    Desired,
    FleetRollout,
    Initiator,
    NodeProgress,
    RecordFault,
    RolloutPhase,
    Sample,
    Stage,
    Wanted,
)

WANTED = Wanted("r1", "shop-42", "/srv/shop/42")
DESIRED = Desired(7, "r1", WANTED, Wanted(""), "ann on a", 12.5)
ROLLOUT = FleetRollout(
    *("r1", 7, WANTED, RolloutPhase.COMMIT, (("a",), ("b", "c")), 1, 2.0, 60.0, 3, Wanted(""), None),
    is_way_back=False,
    by="ann on a",
    at=12,
)
PROGRESS = NodeProgress(Stage.FAILED, "no", ("a line",), Sample(60, 100, 1, 12.5))


@pytest.mark.parametrize("value", [DESIRED, ROLLOUT, PROGRESS, NodeProgress(Stage.READY), Initiator("ann", 1.5)])
def test_value_comes_back_as_it_was(value: Desired | FleetRollout | NodeProgress | Initiator) -> None:
    assert type(value).from_json("key", value.to_json()) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("leader: ann", "is no JSON"),
        ("[1]", "is no JSON object"),
        ("{}", "has no usable format"),
        (json.dumps({"format": FORMAT + 1}), "update it first"),
        (json.dumps({"format": True}), "has no usable format"),
    ],
)
def test_what_is_not_ours_is_told_by_its_key(text: str, told: str) -> None:
    with pytest.raises(RecordFault, match=f"lock in the fleet's store .*{told}"):
        Initiator.from_json("lock", text)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("phase", "flying", "phase = 'flying'"),
        ("waves", "all", "no usable waves"),
        ("waves", [[1]], "no list of texts as waves"),
        ("hold_s", "long", "no usable hold_s"),
        ("wanted", None, "is no JSON object"),
    ],
)
def test_field_that_is_something_else_is_told(name: str, value: object, told: str) -> None:
    text = json.dumps({**json.loads(ROLLOUT.to_json()), name: value})
    with pytest.raises(RecordFault, match=told):
        FleetRollout.from_json("rollout/r1", text)


def test_rollout_knows_its_nodes() -> None:
    assert ROLLOUT.nodes == ("a", "b", "c")
    assert ROLLOUT.may_switch == ("a",)
    assert ROLLOUT.without(("a",)).waves == (("b", "c"),)
    assert [phase for phase in RolloutPhase if not phase.is_open] == [RolloutPhase.DONE, RolloutPhase.ABORTED]


@pytest.mark.parametrize(
    ("wanted", "title"),
    [
        (WANTED, "shop-42"),
        (Wanted("r1", None, "/srv"), "/srv"),
        (Wanted("r1"), "a release without a name"),
        (Wanted(""), "what each node had before"),
    ],
)
def test_release_has_a_title(wanted: Wanted, title: str) -> None:
    assert wanted.title == title


def _view(**entries: str) -> FleetView:
    named = {name.replace("__", "/"): StoredValue(value, 3) for name, value in entries.items()}
    return FleetView(StoreSnapshot(9, named))


def test_empty_store_is_a_fleet_without_anything() -> None:
    view = _view()
    assert (view.desired, view.leader, view.paused, view.open, view.missing) == (None,) * 4 + ((),)
    assert (view.rollout("r1"), view.progress("r1", "a"), dict(view.nodes), view.revision_of("lock")) == (
        None,
        None,
        {},
        0,
    )


def test_view_shows_what_stands_there() -> None:
    view = _view(
        desired=DESIRED.to_json(),
        rollout__r0=ROLLOUT._replace(id="r0", phase=RolloutPhase.DONE).to_json(),
        rollout__r1=ROLLOUT.to_json(),
        progress__r1__a=PROGRESS.to_json(),
        progress__r1__z=PROGRESS.to_json(),
        nodes__a='{"epoch": 6}',
        drained__a="{}",
        other="x",
    )
    assert view.open == ROLLOUT
    assert view.progress("r1", "a") == PROGRESS
    assert dict(view.nodes) == {"a": 6}
    assert view.missing == ("z",)
    assert view.keys_of("r1") == ("progress/r1/a", "progress/r1/z")
    assert view.keys_about("a") == ("progress/r1/a", "drained/a")
    assert list(view.faults()) == []


@pytest.mark.parametrize("key", ["desired", "lock", "paused", "rollout/r1", "progress/r1/a", "nodes/a"])
@pytest.mark.parametrize("value", ["mine", "[]", '{"epoch": "x"}'])
def test_every_value_that_cannot_be_read_is_a_fault(key: str, value: str) -> None:
    view = FleetView(StoreSnapshot(9, {key: StoredValue(value, 3)}))
    assert [fault.key for fault in view.faults()] == [key]


def test_closed_rollouts_leave_none_open() -> None:
    assert _view(rollout__r0=ROLLOUT._replace(phase=RolloutPhase.ABORTED).to_json()).open is None
