"""What a node does next, from what the store says and what it knows itself.

It obeys one thing, an epoch higher than any before it; and takes part in one rollout. Before it acts by an epoch it
writes down that it will, so that no crash, and no backup of the store, can lead it back. What is older is an alarm.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from app.fleet.fleet_view import Change, FleetView
from app.fleet.records import (
    DESIRED,
    LOCK,
    Desired,
    FleetRollout,
    NodeProgress,
    RolloutPhase,
    Stage,
    Wanted,
    progress_key,
    rollout_key,
)

__all__ = ["Act", "Alarm", "Order", "Own", "Says", "next_of_node"]


class Own(NamedTuple):
    """What a node knows itself.

    Attributes:
        node: its name.
        accepted: the highest epoch that it acts by or has acted by, and the rollout of that; kept on its disk.
        applied: the epoch that it has come to the end of.
        drained: the epoch whose switch has no requests left on the version before.
        prepared: the rollout that it has started, or begun to start, a standby for; "" for none. On its disk.
        held: the rollout that its requests are held for; "" for none.
        must_let_go: its hold is about to come to its end.
        resting: an epoch that it could not act by a moment ago, and will try again later.
    """

    node: str
    accepted: int = 0
    accepted_rollout: str = ""
    applied: int = 0
    drained: int = 0
    prepared: str = ""
    held: str = ""
    must_let_go: bool = False
    resting: int = 0


class Act(StrEnum):
    """What is to be done here, with the deploy code that the commands use."""

    PREPARE = "prepare"
    HOLD = "hold"
    ADOPT = "adopt"
    """Make what is wanted active: switch to it where it runs, else start it first."""
    RESUME = "resume"
    TAKE_BACK = "take back"
    DRAIN = "drain"


class Order(NamedTuple):
    """Something to be done, for a rollout; `epoch` is that of an adoption."""

    act: Act
    rollout: str
    wanted: Wanted
    epoch: int = 0
    hold_s: float = 0.0


class Says(NamedTuple):
    """Something to be written into the store, and nothing to be done here."""

    change: Change


class Alarm(NamedTuple):
    """What the store says cannot be obeyed."""

    text: str


Step = Order | Says | Alarm | None


def next_of_node(fleet: FleetView, own: Own) -> Step:
    """What the node does next; None: nothing."""
    for rule in _RULES:
        if (step := rule(fleet, own)) is not None:
            return step
    return _alarm(fleet, own)


def _obey(fleet: FleetView, own: Own) -> Step:
    """Adopt what is committed, once this node's wave has come."""
    desired = fleet.desired
    if desired is None or desired.epoch in (own.applied, own.resting) or _alarm(fleet, own) is not None:
        return None
    if not _may_switch(fleet, desired, own):
        return None
    return Order(Act.ADOPT, desired.rollout, desired.wanted, desired.epoch)


def _let_go(fleet: FleetView, own: Own) -> Step:
    """End a hold that no commit will come for, or that is about to end by itself: then say so first."""
    if not own.held:
        return None
    rollout = fleet.rollout(own.held)
    if rollout is None or rollout.phase is not RolloutPhase.HOLD:
        return Order(Act.RESUME, own.held, Wanted(""))
    if own.must_let_go:
        said = fleet.progress(rollout.id, own.node)
        if said is not None and said.stage is Stage.WITHDRAWN:
            return Order(Act.RESUME, own.held, Wanted(""))
        return _says(fleet, own, rollout, NodeProgress(Stage.WITHDRAWN))
    return None


def _wait_for_requests(fleet: FleetView, own: Own) -> Step:
    """After a switch, wait for the requests that the version before has."""
    desired = fleet.desired
    if desired is None or own.applied != desired.epoch or own.drained == own.applied or own.held:
        return None
    return Order(Act.DRAIN, desired.rollout, desired.wanted, desired.epoch)


def _take_back(fleet: FleetView, own: Own) -> Step:
    """Stop what was started for a rollout that came to nothing."""
    if not own.prepared or own.held:
        return None
    rollout = fleet.rollout(own.prepared)
    desired = fleet.desired
    if rollout is not None and rollout.phase in (RolloutPhase.PREPARE, RolloutPhase.HOLD):
        return None
    if desired is not None and own.prepared in (desired.wanted.origin, _origin(desired.previous)):
        return None
    return Order(Act.TAKE_BACK, own.prepared, Wanted(own.prepared))


def _take_part(fleet: FleetView, own: Own) -> Step:
    """Prepare and hold in the rollout that is open; end it where nobody leads it."""
    rollout = fleet.open
    if rollout is None or own.node not in rollout.nodes:
        return None
    if fleet.revision_of(LOCK) == 0:
        return _unled(fleet, own, rollout)
    said = fleet.progress(rollout.id, own.node)
    if rollout.phase is RolloutPhase.COMMIT or (said is not None and said.stage in _OUT):
        return None
    if rollout.epoch <= own.accepted:
        text = f"epoch {rollout.epoch} is not above {own.accepted}, which this node has acted by"
        return _says(fleet, own, rollout, NodeProgress(Stage.FAILED, text))
    if said is None or said.stage is Stage.PREPARING or own.prepared != rollout.id:
        return Order(Act.PREPARE, rollout.id, rollout.wanted)
    if rollout.phase is RolloutPhase.HOLD and said.stage is Stage.READY:
        return Order(Act.HOLD, rollout.id, rollout.wanted, hold_s=rollout.hold_s)
    if said.stage is Stage.HOLDING and own.held != rollout.id:
        # It was killed at that: the hold is over, or will be, without anybody who would say so in time.
        return _says(fleet, own, rollout, NodeProgress(Stage.WITHDRAWN, "its agent was started anew"))
    return None


def _unled(fleet: FleetView, own: Own, rollout: FleetRollout) -> Step:
    """Before the commit the rollout comes to nothing; after it nothing is missing but a word."""
    if rollout.phase is not RolloutPhase.COMMIT:
        return _ends(fleet, rollout._replace(phase=RolloutPhase.ABORTED, note="its coordinator is gone"))
    said = [fleet.progress(rollout.id, node) for node in rollout.nodes]
    is_whole = rollout.wave >= len(rollout.waves) and all(it is not None and it.stage is Stage.DRAINED for it in said)
    return _ends(fleet, rollout._replace(phase=RolloutPhase.DONE, note="its coordinator is gone")) if is_whole else None


_OUT: Final = (Stage.FAILED, Stage.WITHDRAWN, Stage.TAKEN_BACK)
"""A node that has said this has no further part in the rollout."""

_RULES: Final[tuple[Callable[[FleetView, Own], Step], ...]] = (
    _obey,
    _let_go,
    _take_back,
    _take_part,
    _wait_for_requests,
)
"""The first that has something to do; while requests are held, a switch goes before their release."""


def _alarm(fleet: FleetView, own: Own) -> Alarm | None:
    desired = fleet.desired
    found = (0, "") if desired is None else (desired.epoch, desired.rollout)
    if found[0] < own.accepted:
        return Alarm(
            f"the fleet's store has epoch {found[0]}, and this node has acted by {own.accepted}: was a backup restored?"
        )
    if found[0] == own.accepted and found[1] != own.accepted_rollout:
        return Alarm(f"the fleet's store has another rollout for epoch {own.accepted} than this node has acted by")
    return None


def _may_switch(fleet: FleetView, desired: Desired, own: Own) -> bool:
    rollout = fleet.rollout(desired.rollout)
    waits = rollout is not None and rollout.phase is RolloutPhase.COMMIT and own.node in rollout.nodes
    return not waits or (rollout is not None and own.node in rollout.may_switch)


def _says(fleet: FleetView, own: Own, rollout: FleetRollout, progress: NodeProgress) -> Says:
    """The node's word, while nothing has changed of the rollout or of what it has said before."""
    key = progress_key(rollout.id, own.node)
    return Says(Change(fleet.unchanged(key, rollout_key(rollout.id)), {key: progress.to_json()}))


def _ends(fleet: FleetView, rollout: FleetRollout) -> Says:
    """The rollout's end, while nobody leads it; what is desired stays what it is."""
    key = rollout_key(rollout.id)
    return Says(Change(fleet.unchanged(key, LOCK, DESIRED), {key: rollout.to_json()}))


def _origin(wanted: Wanted | None) -> str:
    return wanted.origin if wanted is not None else ""
