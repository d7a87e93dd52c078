"""The command that helps in what the sentence tells of; the operator who reads it may have just been woken."""

from __future__ import annotations

from app.dashboard.doings import at_work
from app.dashboard.observation import Observation
from app.dashboard.sentence import Sentence, failing_probes, own_probes
from app.state.model import PROGRAM, VERSIONS, BlueGreenState, VersionState, other

__all__ = ["advice"]

_LIVING = frozenset({"starting", "running", "stopping"})


def advice(seen: Observation, said: Sentence) -> str:
    """The command line, or nothing while all is well or a command is at work."""
    words = _words(seen, said)
    return f"{PROGRAM} {words}" if words else ""


def _words(seen: Observation, said: Sentence) -> str:
    state = seen.state
    if state is None:
        return "status" if seen.state_fault else "start blue"
    if seen.state_fault:
        return "repair"  # no other command does anything until then
    if state.active is None:
        return next((f"switch {name}" for name in VERSIONS if _is_well(seen, state.version(name))), "start blue")
    if state.maintenance is not None:
        return "maintenance off"
    if state.pause is not None and state.pause.holds(seen.at):
        return "resume"
    if at_work(seen.at_work) is not None or said.topic.startswith("drain"):
        return ""
    return {"alarm": _way_out(seen, state, state.active), "busy": "status", "calm": ""}[said.tone]


def _way_out(seen: Observation, state: BlueGreenState, active: VersionState) -> str:
    """Away from an active version that does not work, or back to life with it."""
    standby = state.version(other(active.name))
    if _is_well(seen, standby):
        return f"switch {standby.name}"
    if _is_well(seen, active):
        return f"logs {active.name}"
    return f"{'restart' if active.status in _LIVING else 'start'} {active.name}"


def _is_well(seen: Observation, version: VersionState) -> bool:
    probes = own_probes(seen, version)
    return bool(probes) and not failing_probes(probes) and version.status != "crashed"
