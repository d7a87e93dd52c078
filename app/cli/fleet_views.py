"""What the `fleet` commands print: a rollout as it goes on, the nodes, what was done before."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.cli.terminal import dim, table
from app.command_line import PROGRAM
from app.fleet.coordinator import Seen
from app.fleet.fleet_store import StoreSnapshot
from app.fleet.fleet_view import FleetView
from app.fleet.leading import RolloutEnd
from app.fleet.records import FleetRollout, Initiator, NodeProgress, RolloutPhase, Stage, node_key
from app.fleet.registration import drained_key, node_in
from app.fleet.sight import NodeSight

__all__ = ["FleetPrinter", "history_lines", "outcome_json", "rollout_json", "status_json", "status_lines"]

_MARKS: Final = {
    Stage.READY: "✅",
    Stage.SWITCHED: "🔀",
    Stage.DRAINED: "✅",
    Stage.FAILED: "❌",
    Stage.WITHDRAWN: "⚠️ ",
    Stage.TAKEN_BACK: "↩️ ",
}

_PHASES: Final = {
    RolloutPhase.PREPARE: "🚀 {title} on {nodes}: every node starts it as its standby",
    RolloutPhase.HOLD: "⏸️  All are ready; requests wait until all nodes have switched",
    RolloutPhase.COMMIT: "📌 Committed, epoch {epoch}: wave {wave} of {waves} switches",
}


class FleetPrinter:
    """Prints what has changed since the last time: phases, and how far each node is."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._phase: tuple[str, RolloutPhase, int] | None = None
        self._said: dict[tuple[str, str], NodeProgress] = {}
        self._why = ""

    def __call__(self, seen: Seen) -> None:
        rollout = seen.rollout
        if self._phase != (rollout.id, rollout.phase, rollout.wave):
            self._phase = (rollout.id, rollout.phase, rollout.wave)
            self._print(self._phase_text(rollout))
        for node in rollout.nodes:
            said = seen.fleet.progress(rollout.id, node)
            before = self._said.get((rollout.id, node))
            if said is not None and (before is None or said.stage is not before.stage):
                self._print(
                    f"   {_MARKS.get(said.stage, '⏳')} {node}: {said.stage}" + (f": {said.said}" * bool(said.said))
                )
            if said is not None:
                self._said[rollout.id, node] = said
        why = seen.waits.why if seen.waits is not None else ""
        if why and why != self._why:
            self._print(dim(f"   {why}"))
        self._why = why

    def show_evidence(self) -> None:
        """What the nodes that failed have seen last."""
        for (_, node), said in self._said.items():
            if said.stage is Stage.FAILED and said.evidence:
                self._print(*(f"   {node}  {line}" for line in said.evidence))

    def _phase_text(self, rollout: FleetRollout) -> str:
        if rollout.is_way_back and rollout.phase is RolloutPhase.COMMIT:
            return f"⏪ Back to {rollout.wanted.title}, epoch {rollout.epoch}" + (
                f": {rollout.note}" * bool(rollout.note)
            )
        return _PHASES.get(rollout.phase, "").format(
            title=rollout.wanted.title,
            nodes=", ".join(rollout.nodes),
            epoch=rollout.epoch,
            wave=rollout.wave,
            waves=len(rollout.waves),
        )

    def _print(self, *lines: str) -> None:
        if not self._is_quiet:
            print(*filter(None, lines), sep="\n", flush=True)


# --- status -----------------------------------------------------------------------------------------------

_COLUMNS: Final = ("NODE", "STATE", "RELEASE", "VERSION", "EPOCH", "HEALTH", "IN FLIGHT", "ROUTER")


def status_lines(name: str, snapshot: StoreSnapshot) -> list[str]:
    """The fleet in a few lines and a table of its nodes."""
    view = FleetView(snapshot)
    desired = view.desired
    title = f"{desired.wanted.title}, epoch {desired.epoch}, by {desired.by}" if desired else "nothing yet"
    lines = [f"Fleet {name}: committed is {title}"]
    if view.paused is not None:
        lines.append(f"⏸️  Paused by {view.paused.by}: {PROGRAM} fleet resume")
    if view.open is not None:
        led = (
            f"led by {view.leader.by}" if view.leader is not None else f"led by nobody: {PROGRAM} fleet deploy --resume"
        )
        lines.append(f"⏳ {view.open.wanted.title}: {view.open.phase}, {led}")
    rows = [_row(view, snapshot, node) for node in view.nodes]
    rows += [(node, "missing", "", "", "", "", "", "") for node in view.missing]
    if not rows:
        return [*lines, f"   No node is registered: {PROGRAM} agent   # on each"]
    head, *others = table(_COLUMNS, rows)
    return [*lines, head, *others]


def _row(view: FleetView, snapshot: StoreSnapshot, node: str) -> tuple[str, ...]:
    sight = node_in(snapshot.entries[node_key(node)])
    state = _state(view, snapshot, node, sight)
    return node, state, sight.release, sight.version, str(sight.epoch), sight.health, str(sight.in_flight), sight.router


def _state(view: FleetView, snapshot: StoreSnapshot, node: str, sight: NodeSight) -> str:
    said = view.progress(view.open.id, node) if view.open is not None else None
    epoch = view.desired.epoch if view.desired is not None else 0
    told = (
        (drained_key(node) in snapshot.entries, "drained by hand"),
        (said is not None, str(said.stage) if said is not None else ""),
    )
    return next((text for holds, text in told if holds), sight.doubt(epoch) or "as committed")


def status_json(name: str, snapshot: StoreSnapshot) -> dict[str, Any]:
    """The same for programs."""
    view = FleetView(snapshot)
    nodes = {node: node_in(snapshot.entries[node_key(node)]) for node in view.nodes}
    return {
        "fleet": name,
        "revision": snapshot.revision,
        "desired": _desired_json(view),
        "rollout": rollout_json(view.open) if view.open is not None else None,
        "leader": _who_json(view.leader),
        "paused": _who_json(view.paused),
        "nodes": {
            node: {**sight._asdict(), "state": _state(view, snapshot, node, sight)} for node, sight in nodes.items()
        },
        "missing": list(view.missing),
    }


def _desired_json(view: FleetView) -> dict[str, Any] | None:
    desired = view.desired
    if desired is None:
        return None
    previous = desired.previous._asdict() if desired.previous is not None else None
    return {**desired._asdict(), "wanted": desired.wanted._asdict(), "previous": previous}


def _who_json(who: Initiator | None) -> dict[str, Any] | None:
    return who._asdict() if who is not None else None


# --- rollouts ---------------------------------------------------------------------------------------------


def rollout_json(rollout: FleetRollout) -> dict[str, Any]:
    """A rollout as it stands in the store."""
    fields: dict[str, Any] = json.loads(rollout.to_json())
    return {**fields, "is_way_back": rollout.is_way_back}


def outcome_json(view: FleetView, rollout: FleetRollout, end: RolloutEnd) -> Mapping[str, Any]:
    """What came of it, and how far each node got."""
    said = {node: view.progress(rollout.id, node) for node in rollout.nodes}
    nodes = {
        node: {"stage": it.stage, "said": it.said, "evidence": list(it.evidence)}
        for node, it in said.items()
        if it is not None
    }
    return {**rollout_json(rollout), "done": end.is_done, "note": end.note, "nodes": nodes}


_HISTORY: Final = ("WHEN", "WHO", "WHAT", "RELEASE", "EPOCH", "OUTCOME")


def history_lines(rollouts: Sequence[FleetRollout]) -> list[str]:
    """A table, the latest one last; why one came to nothing stands below it."""
    if not rollouts:
        return ["Nothing has been deployed to the fleet yet."]
    first, *rows = table(_HISTORY, [_history_row(it) for it in rollouts])
    lines = [first]
    for rollout, row in zip(rollouts, rows, strict=True):
        lines += [row, *([dim(f"    {rollout.note}")] if rollout.note else [])]
    return lines


def _history_row(it: FleetRollout) -> tuple[str, ...]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(it.at))
    what = "way back" if it.is_way_back else "deploy"
    return when, it.by, what, it.wanted.title, str(it.epoch), it.phase.value
