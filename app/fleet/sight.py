"""The fleet as this machine's agent last saw it, and what follows from that: isolated, fenced, behind, drained.

The agent writes it down; the router, the commands and the page read it, and never ask etcd.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from app.settings.tables.fleet_settings import ISOLATED_S, FleetConfig

__all__ = ["FleetSight", "NodeSight", "Standing", "fleet_json", "standing_of"]

_FORMAT: Final = 1


class NodeSight(NamedTuple):
    """A node by its own last word.

    Attributes:
        release: what it serves; "" where that has no name, or nothing is active.
        version: its active version; "" for none.
        is_well: whether its active version was well at its last health check; None where nothing is known.
        in_flight: requests in its router.
        epoch: the fleet's release that it has come to, counted from 1; 0 for none yet.
        is_diverged: somebody has switched on the machine itself.
        router: the version of its Traffic Router.
    """

    release: str = ""
    version: str = ""
    is_well: bool | None = None
    in_flight: int = 0
    epoch: int = 0
    is_diverged: bool = False
    router: str = ""

    @property
    def health(self) -> str:
        """In words; "" where nothing is known."""
        return "" if self.is_well is None else "well" if self.is_well else "not well"

    def doubt(self, committed: int) -> str:
        """Why it is not as the fleet has committed, which is at that epoch; "" when it is."""
        told = (
            (self.is_diverged, "diverged"),
            (self.epoch < committed, "behind"),
            (self.epoch > committed, "ahead: was a backup restored?"),
        )
        return next((text for holds, text in told if holds), "")


class FleetSight(NamedTuple):
    """What an agent knew at `written_at`; times are wall times in seconds.

    Attributes:
        heard_at: when etcd last answered; 0 for never.
        fault: why it does not answer, "" while it does.
        own: this node's own.
        epoch, release: what the fleet has committed; 0 and "" for nothing yet.
        is_drained: an operator has taken the node out (`fleet node drain`).
        alarm: what the store says that this node does not obey, "" for nothing.
        nodes: those that are registered, this one too, by name.
    """

    fleet: str
    node: str
    written_at: float
    heard_at: float = 0.0
    fault: str = ""
    own: NodeSight = NodeSight()
    epoch: int = 0
    release: str = ""
    is_drained: bool = False
    alarm: str = ""
    nodes: Mapping[str, NodeSight] = {}

    def to_json(self) -> str:
        nodes = {name: node._asdict() for name, node in self.nodes.items()}
        return json.dumps({"format": _FORMAT, **self._asdict(), "own": self.own._asdict(), "nodes": nodes})

    @classmethod
    def from_json(cls, text: bytes | str) -> FleetSight:
        """Raises ValueError for what is none of ours, or is of a later release."""
        try:
            fields = json.loads(text)
            if fields.pop("format") != _FORMAT:
                raise ValueError("it is of another release")
            nodes = {str(name): node_of(node) for name, node in fields.pop("nodes").items()}
            seen = cls(**{**fields, "own": node_of(fields["own"]), "nodes": nodes})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no such file: {error}") from error
        if not all(isinstance(it, int | float) for it in (seen.written_at, seen.heard_at, seen.epoch)):
            raise ValueError("its times are none")
        return seen


def node_of(fields: Any) -> NodeSight:
    """A node out of a JSON value; what is missing or of no use is as if nothing were known.

    Other releases of ours may say more or less of themselves.
    """
    if not isinstance(fields, Mapping):
        return NodeSight()
    defaults = NodeSight()._asdict()
    usable = {
        name: fields[name]
        for name, default in defaults.items()
        if isinstance(fields.get(name), bool if name == "is_well" else type(default))
    }
    return NodeSight(**usable)


class Standing(NamedTuple):
    """How this machine stands to its fleet now.

    Attributes:
        age_s: since etcd last answered the agent; None for never.
        keeps_out: why a balancer should not send clients here, "" when it may.
        sentence: how it is, in words.
    """

    age_s: float | None
    is_isolated: bool
    is_fenced: bool
    is_behind: bool
    is_diverged: bool
    is_drained: bool
    keeps_out: str
    sentence: str


def standing_of(sight: FleetSight | None, config: FleetConfig, now: float) -> Standing:
    """Judge what the agent last wrote, at wall time `now`; None where it has written nothing."""
    age_s = max(0.0, now - sight.heard_at) if sight is not None and sight.heard_at else None
    is_isolated = age_s is None or age_s >= ISOLATED_S
    # An agent that has never run says nothing of how long: a machine is not taken out before it has begun.
    is_fenced = bool(config.fence) and age_s is not None and age_s >= config.fence
    is_behind = sight is not None and sight.epoch > sight.own.epoch
    is_diverged = sight is not None and sight.own.is_diverged
    is_drained = sight is not None and sight.is_drained
    told = (
        (is_drained, "this node is drained", True),
        (is_fenced, f"no word from the fleet's etcd for {age_s or 0:.0f} s, and fence is {config.fence:g} s", True),
        (is_behind, "this node is behind: it does not run what the fleet has committed", config.strict),
        (is_isolated, _isolated(sight, age_s, now), False),
        (is_diverged, "somebody has switched on this machine itself, so it differs from the fleet", False),
    )
    keeps_out = next((text for holds, text, is_out in told if holds and is_out), "")
    sentence = "; ".join(text for holds, text, _ in told if holds) or "as the fleet has committed"
    return Standing(age_s, is_isolated, is_fenced, is_behind, is_diverged, is_drained, keeps_out, sentence)


def _isolated(sight: FleetSight | None, age_s: float | None, now: float) -> str:
    if sight is None:
        return "isolated: no agent has run here yet"
    if now - sight.written_at >= ISOLATED_S:
        return f"isolated: the agent has said nothing for {now - sight.written_at:.0f} s"
    since = "never answered" if age_s is None else f"has not answered for {age_s:.0f} s"
    return f"isolated: etcd {since}" + (f": {sight.fault}" if sight.fault else "")


def fleet_json(sight: FleetSight | None, standing: Standing) -> dict[str, object]:
    """The same for programs; `nodes` as they were at `age_s`."""
    seen = sight or FleetSight("", "", 0.0)
    return {
        "name": seen.fleet or None,
        "node": seen.node or None,
        "sentence": standing.sentence,
        "age_s": None if standing.age_s is None else round(standing.age_s, 1),
        "isolated": standing.is_isolated,
        "fenced": standing.is_fenced,
        "behind": standing.is_behind,
        "diverged": standing.is_diverged,
        "drained": standing.is_drained,
        "epoch": seen.own.epoch,
        "committed_epoch": seen.epoch,
        "committed_release": seen.release or None,
        "alarm": seen.alarm or None,
        "nodes": {name: node._asdict() for name, node in seen.nodes.items()},
    }
