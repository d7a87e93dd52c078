"""What happened when, for the charts: switches, rollbacks, starts, stops, crashes, failing health checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from app.dashboard.observation import Observation
from app.dashboard.words import versioned
from app.deploy.processes.reconcile import ending_text
from app.metrics.snapshot import Probe
from app.situation import named
from app.state.model import VERSIONS, VersionState

__all__ = ["Annotation", "annotate"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """One thing that happened at wall time `at`.

    `kind` is "switch", "rollback", "start", "stop", "failover", "failback", "crash", "failing", "hold", "well" or
    "router"; `version` is the one that got the traffic or that it happened to, or "router". `label` is short, `text`
    says it in full.
    """

    at: float
    kind: str
    version: str
    label: str
    text: str


def annotate(seen: Observation) -> list[Annotation]:
    """All that is known of, oldest first."""
    found = [*_of_commands(seen), *_of_state(seen), *_of_crashes(seen), *_of_probes(seen), *_of_events(seen)]
    return sorted(_without_repeats(found), key=lambda note: note.at)


_SAME_S = 5.0
"""A switch in the state file and the end of its command in the history are one thing."""


def _without_repeats(found: list[Annotation]) -> Iterator[Annotation]:
    kept: list[Annotation] = []
    for note in found:
        if not any(
            (note.version, note.kind in _SWITCHES) == (other.version, other.kind in _SWITCHES)
            and (note.kind == other.kind or note.kind in _SWITCHES)
            and abs(note.at - other.at) < _SAME_S
            for other in kept
        ):
            kept.append(note)
            yield note


_SWITCHES = frozenset({"switch", "rollback"})


def _of_state(seen: Observation) -> Iterator[Annotation]:
    """The last switch, which is in the state file before its command has come to its end."""
    state = seen.state
    if state is None or state.active is None or state.switched_at is None:
        return
    at_work = any(entry.operation == "rollback" for entry in seen.at_work)
    yield _switch(state.switched_at, "rollback" if at_work else "switch", state.active.name, state.active.release)


def _of_commands(seen: Observation) -> Iterator[Annotation]:
    at_work = {entry.id for entry in seen.at_work}
    for entry in seen.commands:
        done_at = seen.at if entry.id in at_work else entry.at + (entry.duration_s or 0.0)
        if entry.operation in ("switch", "rollback", "deploy") and entry.goes_to and entry.has_switched:
            # The exact moment is not in the history: a drain at the end of the command takes most of its time.
            kind = "rollback" if entry.operation == "rollback" else "switch"
            yield _switch(_switched_at(seen, entry.at, done_at), kind, entry.goes_to, entry.release)
        elif entry.outcome is None or entry.outcome != "done":
            continue
        elif entry.operation in ("start", "run", "restart"):
            yield Annotation(
                done_at,
                "start",
                entry.target,
                f"start {entry.target}",
                f"{versioned(entry.target.capitalize(), entry.release)} started",
            )
        elif entry.operation in ("failover", "failback"):
            label = f"{entry.operation} to {entry.target}"
            yield Annotation(entry.at, entry.operation, entry.target, label, f"{label.capitalize()}: {entry.detail}")
        elif entry.operation == "stop":
            yield Annotation(
                done_at, "stop", entry.target, f"stop {entry.target}", f"{entry.target.capitalize()} stopped"
            )


def _switched_at(seen: Observation, began: float, ended: float) -> float:
    """The switch's own time when the state file still knows it, else when the command began."""
    at = seen.state.switched_at if seen.state is not None else None
    return at if at is not None and began - _SAME_S <= at <= max(ended, began) + _SAME_S else began


def _switch(at: float, kind: str, version: str, release: str | None) -> Annotation:
    label = f"{'rollback' if kind == 'rollback' else 'switch'} to {version}"
    verb = "Rolled back" if kind == "rollback" else "Switched"
    return Annotation(at, kind, version, label, f"{verb} to {versioned(version, release)}")


def _of_crashes(seen: Observation) -> Iterator[Annotation]:
    for version in seen.state.versions.values() if seen.state is not None else ():
        at = seen.ended_at.get(version.name)
        if version.status == "crashed" and at is not None:
            yield Annotation(at, "crash", version.name, f"{version.name} crashed", _crash_text(version))


def _of_events(seen: Observation) -> Iterator[Annotation]:
    """What the router noted; what commands did, failovers among it, is in the history already."""
    for event in seen.events:
        if event.event in _EVENTS:
            kind, label = _EVENTS[event.event]
            version = "router" if kind in _OF_ROUTER else event.version or "router"
            yield Annotation(event.at, kind, version, label.format(version), event.text)


_EVENTS: Final[Mapping[str, tuple[str, str]]] = {
    "ended": ("crash", "{} crashed"),
    "crashed": ("crash", "{} crashed"),
    "restarted": ("start", "restart {}"),
    "failing": ("failing", "{} fails"),
    "erring": ("failing", "{} errs"),
    "slow": ("failing", "{} is slow"),
    "paused": ("hold", "pause"),
    "maintenance": ("hold", "maintenance"),
    "recovered": ("well", "all well"),
    "started": ("router", "router started"),
    "reloaded": ("router", "reload"),
    "upgraded": ("router", "upgrade"),
    "reload refused": ("failing", "reload refused"),
    "upgrade failed": ("failing", "upgrade failed"),
}
"""Kind and label by the event's word."""

_OF_ROUTER: Final = ("router", "hold", "well")


def _crash_text(version: VersionState) -> str:
    status = "" if version.exit_status is None else f", {ending_text(version.exit_status)}"
    return f"{named(version)} crashed{status}"


def _of_probes(seen: Observation) -> Iterator[Annotation]:
    """Where the active version's health checks began to fail while it was active, as far back as is remembered."""
    state = seen.state
    if state is None or state.active is None or state.active.name not in VERSIONS:
        return
    name, since = state.active.name, max(state.active.started_at or 0.0, state.switched_at or 0.0)
    before: Probe | None = None
    for probe in seen.minute.probes[name]:
        if not probe.ok and before is not None and before.ok and probe.at >= since:
            yield Annotation(probe.at, "failing", name, f"{name} fails", f"{name.capitalize()} fails: {probe.reason}")
        before = probe
