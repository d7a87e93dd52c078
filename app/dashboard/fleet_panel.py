"""What the page shows of the fleet that the machine belongs to, as its agent last saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.dashboard.words import count_text, printable
from app.units import NONE, duration_text

if TYPE_CHECKING:  # most machines belong to none
    from app.fleet.sight import FleetSight, NodeSight, Standing

__all__ = ["FleetPanel", "NodeRow", "fleet_panel"]


class NodeRow(NamedTuple):
    """One node's line; `tone` is "good" or "busy", and `state` says why in words."""

    name: str
    tone: str
    state: str
    release: str
    version: str
    epoch: str
    health: str
    in_flight: str


class FleetPanel(NamedTuple):
    """All of it: two sentences, and the nodes that are registered, by name."""

    text: str
    age: str
    nodes: tuple[NodeRow, ...]


def fleet_panel(sight: FleetSight | None, standing: Standing) -> FleetPanel:
    """For what the agent last wrote, and what follows from it."""
    if sight is None:
        return FleetPanel(f"{standing.sentence}.", "", ())
    release = f"{printable(sight.release) or 'a release without a name'}, epoch {sight.epoch}"
    committed = f"Committed is {release}" if sight.epoch else "Nothing is committed yet"
    alarm = f" {printable(sight.alarm)}." if sight.alarm else ""
    heard = (
        "etcd has never answered" if standing.age_s is None else f"etcd answered {duration_text(standing.age_s)} ago"
    )
    return FleetPanel(
        f"{committed}. {sight.node}, this node: {printable(standing.sentence)}.{alarm}",
        heard,
        tuple(_row(name, node, sight.epoch) for name, node in sorted(sight.nodes.items())),
    )


def _row(name: str, node: NodeSight, committed: int) -> NodeRow:
    doubt = node.doubt(committed)
    return NodeRow(
        name,
        "busy" if doubt else "good",
        doubt or "as committed",
        printable(node.release) or NONE,
        node.version or NONE,
        count_text(node.epoch),
        node.health or NONE,
        count_text(node.in_flight),
    )
