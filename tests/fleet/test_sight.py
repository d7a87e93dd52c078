"""What the agent saw, as a file, and what follows from it."""

from __future__ import annotations

import json

import pytest

from app.fleet.sight import FleetSight, NodeSight, fleet_json, node_of, standing_of
from app.settings.tables.fleet_settings import FleetConfig

CONFIG = FleetConfig(name="shop", endpoints=("http://127.0.0.1:2379",))
OWN = NodeSight("r1", "blue", True, 3, 2, False, "1.0.0")
SIGHT = FleetSight("shop", "web-1", 100.0, 100.0, own=OWN, epoch=2, release="r1", nodes={"web-1": OWN})


def test_is_read_as_it_was_written() -> None:
    assert FleetSight.from_json(SIGHT.to_json()) == SIGHT


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1, "nodes": {}}', '{"format": 1, "nodes": 3}'],
)
def test_what_is_none_of_ours_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        FleetSight.from_json(text)


def test_times_that_are_none_are_told() -> None:
    with pytest.raises(ValueError, match="times"):
        FleetSight.from_json(json.dumps({**json.loads(SIGHT.to_json()), "heard_at": "now"}))


@pytest.mark.parametrize(
    ("node", "doubt"),
    [
        (OWN, ""),
        (OWN._replace(epoch=1), "behind"),
        (OWN._replace(epoch=3), "ahead: was a backup restored?"),
        (OWN._replace(epoch=1, is_diverged=True), "diverged"),
    ],
)
def test_node_says_why_it_is_not_as_committed(node: NodeSight, doubt: str) -> None:
    assert node.doubt(2) == doubt


def test_health_is_in_words_where_it_is_known() -> None:
    assert [OWN._replace(is_well=it).health for it in (True, False, None)] == ["well", "not well", ""]


def test_node_of_another_release_is_read_as_far_as_it_goes() -> None:
    assert node_of(3) == NodeSight()
    assert node_of({"release": "r2", "epoch": "x", "is_well": None, "colour": 1}) == NodeSight("r2")
    assert node_of(json.loads(json.dumps(OWN._asdict()))) == OWN


def test_all_is_well_with_a_word_of_now() -> None:
    standing = standing_of(SIGHT, CONFIG, 105.0)

    assert standing == (5.0, False, False, False, False, False, "", "as the fleet has committed")


@pytest.mark.parametrize(
    ("sight", "now", "says"),
    [
        (None, 0.0, "no agent has run here yet"),
        (SIGHT, 130.0, "the agent has said nothing for 30 s"),
        (SIGHT._replace(written_at=129.0, fault="refused"), 130.0, "etcd has not answered for 30 s: refused"),
        (SIGHT._replace(written_at=129.0), 130.0, "etcd has not answered for 30 s"),
        (SIGHT._replace(heard_at=0.0), 101.0, "etcd never answered"),
    ],
    ids=str,
)
def test_isolated_says_since_when_and_takes_nobody_out(sight: FleetSight | None, now: float, says: str) -> None:
    standing = standing_of(sight, CONFIG, now)

    assert standing.is_isolated and says in standing.sentence and not standing.keeps_out


def test_fence_takes_a_machine_out_that_has_heard_nothing_for_so_long() -> None:
    fenced = FleetConfig("shop", endpoints=CONFIG.endpoints, fence=60.0)

    assert not standing_of(SIGHT, fenced, 159.0).keeps_out
    assert "fence is 60 s" in standing_of(SIGHT, fenced, 160.0).keeps_out
    assert not standing_of(None, fenced, 160.0).keeps_out


def test_machine_that_is_behind_is_taken_out_where_that_is_strict() -> None:
    behind = SIGHT._replace(epoch=3)

    assert standing_of(behind, CONFIG, 101.0).is_behind and not standing_of(behind, CONFIG, 101.0).keeps_out
    strict = FleetConfig("shop", endpoints=CONFIG.endpoints, strict=True)
    assert "behind" in standing_of(behind, strict, 101.0).keeps_out


def test_drained_and_diverged_are_told() -> None:
    drained = standing_of(SIGHT._replace(is_drained=True), CONFIG, 101.0)
    assert drained.is_drained and drained.keeps_out == "this node is drained"
    diverged = standing_of(SIGHT._replace(own=OWN._replace(is_diverged=True)), CONFIG, 101.0)
    assert diverged.is_diverged and "differs from the fleet" in diverged.sentence and not diverged.keeps_out


def test_says_the_same_to_programs() -> None:
    found = fleet_json(SIGHT, standing_of(SIGHT, CONFIG, 101.04))
    assert (found["name"], found["age_s"], found["nodes"]) == ("shop", 1.0, {"web-1": OWN._asdict()})
    nothing = fleet_json(None, standing_of(None, CONFIG, 101.0))
    assert (nothing["name"], nothing["age_s"], nothing["isolated"], nothing["nodes"]) == (None, None, True, {})
