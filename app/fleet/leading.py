"""What the coordinator of a rollout does next, from what the store says and what it knows itself.

Each change compares all that it was decided on: the lock, so that who has lost it changes nothing; the rollout, so
that a commit and an agent's "its coordinator is gone" exclude each other; what each node has said, so that one that
has taken its word back stops the commit.

    prepare ──all ready──▶ hold (together) ──all hold──▶ commit ──wave by wave──▶ done
       │                     │                             │
       └───one fails, or is lost, or the time is over──────┘──▶ aborted; after the commit, what was before
                                                                 is committed anew
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from app.command_line import PROGRAM
from app.fleet.fleet_store import Expect
from app.fleet.fleet_view import Change, FleetView
from app.fleet.records import (
    DESIRED,
    LOCK,
    Desired,
    FleetRollout,
    Initiator,
    RolloutPhase,
    Stage,
    Wanted,
    progress_key,
    rollout_key,
)
from app.fleet.waves import ALL_AT_ONCE, in_waves
from app.operator_errors import OperatorError, UsageError

__all__ = ["Asked", "RolloutEnd", "Mine", "Waits", "begin", "begin_way_back", "next_of_leader", "take_lock"]


class Asked(NamedTuple):
    """What an operator asks for; `min_nodes` None: all that are registered."""

    wanted: Wanted
    waves: str = ALL_AT_ONCE
    watch_s: float = 0.0
    hold_s: float = 0.0
    min_nodes: int | None = None


class Mine(NamedTuple):
    """What the coordinator knows itself.

    Attributes:
        rollout: the one that it leads.
        lock: the revision at which it took the lock.
        seen: the highest revision of the store that it has seen.
        lost: nodes of which nothing was heard for too long.
        is_over: the time for the present phase, or wave, is over.
        watched: what the watch of this wave has found: None while it lasts, "" for nothing, else what is worse.
    """

    rollout: str
    lock: int
    seen: int = 0
    lost: frozenset[str] = frozenset()
    is_over: bool = False
    watched: str | None = None


class Waits(NamedTuple):
    """There is nothing to change; these nodes are waited for, or nobody but `why`."""

    nodes: tuple[str, ...]
    why: str = ""


class RolloutEnd(NamedTuple):
    """The rollout has come to its end, or is another's."""

    is_done: bool
    note: str


Next = Change | Waits | RolloutEnd


def take_lock(fleet: FleetView, leader: Initiator) -> Change:
    """To lead; raises `OperatorError` while somebody else does, or when the fleet is paused."""
    if fleet.leader is not None:
        raise OperatorError(f"{fleet.leader.by} leads a rollout of the fleet", f"{PROGRAM} fleet status")
    if fleet.paused is not None:
        raise OperatorError(f"the fleet was paused by {fleet.paused.by}", f"{PROGRAM} fleet resume")
    return Change((Expect(LOCK, 0),), {LOCK: leader.to_json()})


def begin(fleet: FleetView, lock: int, asked: Asked, id_: str, leader: Initiator) -> tuple[FleetRollout, Change]:
    """A deploy of all registered nodes; raises `OperatorError` where none can begin."""
    if not fleet.nodes:
        raise OperatorError("no node of the fleet is registered", f"{PROGRAM} agent   # on each node")
    if fleet.open is not None and fleet.open.phase is RolloutPhase.COMMIT:
        raise OperatorError(
            f"{fleet.open.wanted.title} is committed, and not all nodes have it",
            f"{PROGRAM} fleet deploy --resume, or {PROGRAM} fleet rollback",
        )
    nodes = tuple(fleet.nodes)
    least = len(nodes) if asked.min_nodes is None else asked.min_nodes
    if least > len(nodes):
        raise OperatorError(
            f"{len(nodes)} of at least {least} nodes are there: {', '.join(nodes)}",
            f"{PROGRAM} fleet status, or --min-nodes={len(nodes)}",
        )
    waves = in_waves(asked.waves, nodes)
    if asked.hold_s and len(waves) > 1:
        raise UsageError("--together: all nodes switch between two requests, so there are no waves")
    desired = fleet.desired
    rollout = FleetRollout(
        id_,
        _next_epoch(fleet),
        asked.wanted._replace(origin=id_),
        RolloutPhase.PREPARE,
        waves,
        0,
        asked.hold_s,
        asked.watch_s,
        least,
        desired.wanted if desired is not None else Wanted(""),
        desired.previous if desired is not None else None,
        is_way_back=False,
        by=leader.by,
        at=leader.at,
    )
    puts = _given_up(fleet, "its coordinator is gone")
    expects = (Expect(LOCK, lock), *fleet.unchanged(DESIRED, rollout_key(id_), *puts))
    return rollout, Change(expects, {**puts, rollout_key(id_): rollout.to_json()})


def begin_way_back(fleet: FleetView, lock: int, id_: str, leader: Initiator) -> tuple[FleetRollout, Change]:
    """A commit of the release before, on all nodes at once; raises `OperatorError` where there is none."""
    desired = fleet.desired
    if desired is None or desired.previous is None:
        raise OperatorError(
            "there is nothing to roll back to: the fleet has had no other release", f"{PROGRAM} fleet history"
        )
    rollout = FleetRollout(
        id_,
        _next_epoch(fleet),
        desired.previous,
        RolloutPhase.COMMIT,
        (tuple(fleet.nodes),),
        1,
        0.0,
        0.0,
        0,
        desired.wanted,
        None,
        is_way_back=True,
        by=leader.by,
        at=leader.at,
    )
    puts = _given_up(fleet, f"rolled back by {leader.by}")
    expects = (Expect(LOCK, lock), *fleet.unchanged(DESIRED, rollout_key(id_), *puts))
    committed = _desired(rollout, desired.wanted)
    return rollout, Change(expects, {**puts, rollout_key(id_): rollout.to_json(), DESIRED: committed.to_json()})


def next_of_leader(fleet: FleetView, mine: Mine) -> Next:
    """What the coordinator does next: a change, or wait, or end."""
    rollout = fleet.rollout(mine.rollout)
    if rollout is None or fleet.revision < mine.seen:
        return RolloutEnd(False, "the fleet's store is older than it was: was a backup restored?")
    if fleet.revision_of(LOCK) != mine.lock and rollout.phase.is_open:
        return RolloutEnd(False, "another command leads the fleet now, or this one was not heard of for too long")
    return _NEXT[rollout.phase](fleet, rollout, mine)


def _prepared(fleet: FleetView, rollout: FleetRollout, mine: Mine) -> Next:
    return _together(fleet, rollout, mine, Stage.READY)


def _held(fleet: FleetView, rollout: FleetRollout, mine: Mine) -> Next:
    return _together(fleet, rollout, mine, Stage.HOLDING)


def _together(fleet: FleetView, rollout: FleetRollout, mine: Mine, stage: Stage) -> Next:
    """Before the commit: all must be at this stage."""
    stages = _stages(fleet, rollout)
    present = tuple(node for node in rollout.nodes if node not in mine.lost)
    lacking = tuple(node for node in present if stages[node] is not stage)
    if why := _obstacle(fleet, rollout, mine, stages, lacking):
        return _change(fleet, mine, rollout._replace(phase=RolloutPhase.ABORTED, note=why), ())
    if lacking:
        return Waits(lacking)
    # What was read of each node is compared again: one that has taken its word back stops this.
    words = tuple(progress_key(rollout.id, node) for node in present)
    if rollout.hold_s and rollout.phase is RolloutPhase.PREPARE:
        return _change(fleet, mine, rollout._replace(phase=RolloutPhase.HOLD), words)
    committed = rollout.without(tuple(mine.lost))._replace(phase=RolloutPhase.COMMIT, wave=1)
    desired = _desired(rollout, rollout.was)
    return _change(fleet, mine, committed, (*words, DESIRED), {DESIRED: desired.to_json()})


def _obstacle(
    fleet: FleetView, rollout: FleetRollout, mine: Mine, stages: Mapping[str, Stage | None], lacking: tuple[str, ...]
) -> str:
    """Why there will be no commit; "" while there may be one."""
    lost = tuple(node for node in rollout.nodes if node in mine.lost)
    for node in rollout.nodes:
        progress = fleet.progress(rollout.id, node)
        if progress is not None and stages[node] in _NEVER_MORE:
            return f"{node} {_NEVER_MORE[progress.stage]}" + (f": {progress.said}" if progress.said else "")
    if lost and (rollout.hold_s or len(rollout.nodes) - len(lost) < rollout.min_nodes):
        return f"nothing was heard of {', '.join(lost)}"
    if rollout.hold_s and (joined := set(fleet.nodes).difference(rollout.nodes)):
        return f"{', '.join(sorted(joined))} has joined the fleet, and would go on with what it has"
    if mine.is_over and lacking:
        return f"{', '.join(lacking)} did not come so far in time"
    return ""


_NEVER_MORE: Final = {
    Stage.FAILED: "failed",
    Stage.WITHDRAWN: "could hold its requests no longer",
    Stage.TAKEN_BACK: "has taken back what it had prepared",
}
"""Where there is no way to a commit from."""


def _committed(fleet: FleetView, rollout: FleetRollout, mine: Mine) -> Next:
    """After the commit: wave after wave, and back when one cannot switch or does worse."""
    stages = _stages(fleet, rollout)
    failed = tuple(node for node in rollout.may_switch if stages[node] is Stage.FAILED)
    is_last = rollout.wave >= len(rollout.waves)
    arrived = (Stage.DRAINED,) if is_last else (Stage.SWITCHED, Stage.DRAINED)
    present = tuple(node for node in rollout.may_switch if node not in mine.lost and node not in failed)
    switched = all(stages[node] in (Stage.SWITCHED, Stage.DRAINED) for node in present)
    lacking = tuple(node for node in present if stages[node] not in arrived)
    if not rollout.is_way_back:
        if failed:
            return _go_back(fleet, rollout, mine, f"{', '.join(failed)} could not switch")
        if mine.is_over and not switched:
            return _go_back(fleet, rollout, mine, f"{', '.join(lacking)} did not switch in time")
        if mine.watched:
            return _go_back(fleet, rollout, mine, mine.watched)
    if lacking and not (mine.is_over and switched) and not (mine.is_over and rollout.is_way_back):
        return Waits(lacking)
    if rollout.watch_s and mine.watched is None:
        return Waits((), "watching")
    if is_last:
        return _change(
            fleet, mine, rollout._replace(phase=RolloutPhase.DONE, note=_missing(rollout, mine, failed, lacking))
        )
    if fleet.paused is not None:
        return Waits((), f"paused by {fleet.paused.by}")
    return _change(fleet, mine, rollout._replace(wave=rollout.wave + 1))


def _go_back(fleet: FleetView, rollout: FleetRollout, mine: Mine, why: str) -> Change:
    """What was before is committed anew, in the same change that ends the rollout."""
    id_ = f"{rollout.id}-back"
    before = rollout.was or Wanted("")
    back = rollout._replace(
        id=id_,
        epoch=rollout.epoch + 1,
        wanted=before,
        phase=RolloutPhase.COMMIT,
        waves=(rollout.nodes,),
        wave=1,
        hold_s=0.0,
        watch_s=0.0,
        was=rollout.wanted,
        is_way_back=True,
        note=why,
    )
    desired = _desired(back, rollout.was_previous)
    puts = {rollout_key(id_): back.to_json(), DESIRED: desired.to_json()}
    return _change(
        fleet, mine, rollout._replace(phase=RolloutPhase.ABORTED, note=why), (DESIRED, rollout_key(id_)), puts
    )


def _ended(_fleet: FleetView, rollout: FleetRollout, _mine: Mine) -> Next:
    return RolloutEnd(rollout.phase is RolloutPhase.DONE, rollout.note)


_NEXT: Final[Mapping[RolloutPhase, Callable[[FleetView, FleetRollout, Mine], Next]]] = {
    RolloutPhase.PREPARE: _prepared,
    RolloutPhase.HOLD: _held,
    RolloutPhase.COMMIT: _committed,
    RolloutPhase.DONE: _ended,
    RolloutPhase.ABORTED: _ended,
}


def _change(
    fleet: FleetView,
    mine: Mine,
    rollout: FleetRollout,
    compared: tuple[str, ...] = (),
    puts: Mapping[str, str] | None = None,
) -> Change:
    """The rollout's new value, and what goes with it."""
    key = rollout_key(rollout.id)
    expects = (Expect(LOCK, mine.lock), *fleet.unchanged(key, *compared))
    return Change(expects, {key: rollout.to_json(), **(puts or {})})


def _stages(fleet: FleetView, rollout: FleetRollout) -> dict[str, Stage | None]:
    found = {node: fleet.progress(rollout.id, node) for node in rollout.nodes}
    return {node: progress and progress.stage for node, progress in found.items()}


def _missing(rollout: FleetRollout, mine: Mine, failed: tuple[str, ...], lacking: tuple[str, ...]) -> str:
    lost = tuple(node for node in rollout.nodes if node in mine.lost)
    told = ((lost, "not heard of"), (failed, "failed"), (lacking, "still busy"))
    return "; ".join(f"{', '.join(nodes)} {what}" for nodes, what in told if nodes)


def _desired(rollout: FleetRollout, previous: Wanted | None) -> Desired:
    return Desired(rollout.epoch, rollout.id, rollout.wanted, previous, rollout.by, rollout.at)


def _next_epoch(fleet: FleetView) -> int:
    """Above all that was ever seen: after a restored backup the nodes know more than the store."""
    rollouts = (fleet.rollout(id_) for id_ in fleet.rollout_ids)
    committed = fleet.desired.epoch if fleet.desired is not None else 0
    return 1 + max(committed, *fleet.nodes.values(), *(it.epoch for it in rollouts if it is not None), 0)


def _given_up(fleet: FleetView, why: str) -> dict[str, str]:
    """The rollout that nobody leads any more, ended."""
    left = fleet.open
    return {} if left is None else {rollout_key(left.id): left._replace(phase=RolloutPhase.ABORTED, note=why).to_json()}
