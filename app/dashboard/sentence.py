"""What is going on, in one or two sentences: the first thing on the page, and often all one needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.dashboard.doings import Told, at_work, went_wrong
from app.dashboard.observation import Observation
from app.dashboard.words import ago_text, versioned
from app.metrics.snapshot import InFlightRow, Probe
from app.state.model import BlueGreenState, VersionState, other
from app.units import GAP, duration_text

__all__ = ["Sentence", "failing_probes", "named", "own_probes", "sentence"]

JUST_SWITCHED_S = 60.0
"""So long a switch is news. A drain is told of for as long as it lasts."""

MANY_FAILED = 10
MUCH_FAILED = 0.05
"""So many of the last minute's requests, and such a share of them, are more than a mishap."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """The text, how grave it is ("calm", "busy" or "alarm"), and what it is about.

    `topic` stays the same while only figures in the text change: a screen reader is told of a new topic, not of
    every second.
    """

    text: str
    tone: str
    topic: str


def named(version: VersionState) -> str:
    """A version as people call it: Blue 1.4.2."""
    return versioned(version.name.capitalize(), version.release)


def own_probes(seen: Observation, version: VersionState) -> Sequence[Probe]:
    """The health checks of the version's process, oldest first; those of the process before it say nothing of it."""
    return [probe for probe in seen.minute.probes[version.name] if probe.at >= (version.started_at or 0.0)]


def failing_probes(probes: Sequence[Probe]) -> int:
    """How many health checks in a row have failed up to now."""
    return next((count for count, probe in enumerate(reversed(probes)) if probe.ok), len(probes))


def sentence(seen: Observation) -> Sentence:
    """The sentence for what is seen."""
    state = seen.state
    if state is None:
        reason = seen.state_fault or "there is no state file"
        return Sentence(f"No version is known, so every request is answered with 503: {reason}.", "alarm", "no state")
    active = state.active
    if active is None:
        return Sentence("No version is active, so every request is answered with 503.", "alarm", "none active")
    head = _held_back(seen, state) or _trouble(seen, active) or _after_switch(seen, active) or _serving(active)
    if seen.state_fault:
        broken = "The state file is broken: the last good state is served, and no command can change anything."
        return Sentence(f"{head.text} {broken}", "alarm", f"{head.topic}; state fault")
    work = at_work(seen.at_work)
    if head.topic.startswith(_SAYS_IT_ALL) and (work is None or work.phase == "draining"):
        return head
    news = went_wrong(seen.commands, seen.at) if head.tone == "calm" else None
    tail = work or news or _standby(seen, state.version(other(active.name)))
    tone = "busy" if head.tone == "calm" and (work or news) else head.tone
    return Sentence(f"{head.text} {tail.text}", tone, f"{head.topic}; {tail.topic}")


_SAYS_IT_ALL = ("drain", "failover")
"""Topics of sentences in which the other version has its part already."""


def _serving(active: VersionState) -> Sentence:
    return Sentence(f"{named(active)} serves all traffic.", "calm", f"{active.name} {active.release} serves")


def _held_back(seen: Observation, state: BlueGreenState) -> Sentence | None:
    """Traffic does not flow because somebody said so."""
    if state.maintenance is not None:
        since = duration_text(seen.at - state.maintenance.since)
        text = f"Maintenance for {since}: clients are answered with 503 instead of going to {state.active_version}."
        return Sentence(text, "busy", "maintenance")
    if state.pause is not None and state.pause.holds(seen.at):
        left = duration_text(state.pause.until - seen.at)
        held = seen.minute.held
        waiting = f"{_requests(held)} {'waits' if held == 1 else 'wait'}" if held else "new requests wait"
        to = _low(state.active) if state.active is not None else "no version"
        return Sentence(f"Traffic to {to} is paused: {waiting}, for {left} at most.", "busy", "paused")
    return None


def _trouble(seen: Observation, active: VersionState) -> Sentence | None:
    """The active version does not work."""
    if seen.minute.failover.version == active.name:
        standby = _low(seen.state.version(other(active.name))) if seen.state is not None else other(active.name)
        text = f"{named(active)} is down; {standby} stands in until {active.name} is healthy again."
        return Sentence(text, "alarm", f"failover from {active.name}")
    if active.status == "crashed":
        ended = seen.ended_at.get(active.name)
        when = f" {ago_text(seen.at - ended)}" if ended else ""
        text = f"{named(active)} is active but crashed{when}{_waiting(seen)}."
        return Sentence(text, "alarm", f"{active.name} crashed")
    probes = own_probes(seen, active)
    failing = failing_probes(probes)
    if not failing:
        return _errors(seen, active)
    checks = "the last health check" if failing == 1 else f"the last {failing} health checks"
    reason = f": {probes[-1].reason}" if probes[-1].reason else ""
    text = f"{named(active)} is active but failed {checks}{reason}{_waiting(seen)}."
    return Sentence(text, "alarm", f"{active.name} fails")


def _errors(seen: Observation, active: VersionState) -> Sentence | None:
    """It is well, but many of its answers are not."""
    stats = seen.minute.versions[active.name]
    if stats.failed < max(MANY_FAILED, MUCH_FAILED * stats.requests):
        return None
    share = f"{100 * stats.failed / stats.requests:.0f}{GAP}%"
    text = f"{named(active)} serves all traffic, but {share} of the last minute's requests failed."
    return Sentence(text, "alarm", f"{active.name} {active.release} errs")


def _after_switch(seen: Observation, active: VersionState) -> Sentence | None:
    """Traffic has moved, and the old version may still have requests to finish."""
    assert seen.state is not None
    switched_at, previous = seen.state.switched_at, other(active.name)
    left = seen.minute.versions[previous].in_flight
    ago = None if switched_at is None else max(0.0, seen.at - switched_at)
    if left:
        oldest = _oldest(seen.minute.rows, previous)
        age = f", the oldest {duration_text(oldest)}" if oldest is not None else ""
        since = "All new requests go" if ago is None else f"Switched {ago_text(ago)}, new requests go"
        if ago is not None and seen.state.previous_version == previous:
            text = f"Switched to {_low(active)} {ago_text(ago)}; {previous} still finishes"
        else:
            text = f"{since} to {_low(active)}; {previous} still finishes"
        return Sentence(f"{text} {_requests(left)}{age}.", "busy", f"drain {previous}")
    if ago is None or ago >= JUST_SWITCHED_S or seen.state.previous_version is None:
        return None
    text = f"Switched to {_low(active)} {ago_text(ago)}; {previous} has nothing left to finish."
    return Sentence(text, "calm", f"{active.name} {active.release} switched")


def _waiting(seen: Observation) -> str:
    """What is said of requests that are held until their version is back."""
    held = seen.minute.held
    return f"; {_requests(held)} {'waits' if held == 1 else 'wait'} for it" if held else ""


def _low(version: VersionState) -> str:
    """A version within a sentence: green 1.5.0."""
    return versioned(version.name, version.release)


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count:,} requests"


def _oldest(rows: Sequence[InFlightRow], name: str) -> float | None:
    return next((row.age_s for row in rows if row.version == name), None)


def _standby(seen: Observation, version: VersionState) -> Told:
    """How the other version stands."""
    probes = own_probes(seen, version)
    said = _STANDBY.get(version.status)
    if said is None and probes and not probes[-1].ok:
        said = "is running but fails its health checks"
    elif said is None and not probes:
        said = "is running and has not been checked yet"
    elif version.status == "stopped" and probes and probes[-1].ok:  # started by somebody else's hands
        said = "is healthy and standing by"
    said = said or "is healthy and standing by"
    return Told(f"{named(version)} {said}.", f"{version.name} {said}")


_STANDBY = {
    "stopped": "is stopped",
    "starting": "is starting",
    "stopping": "is stopping",
    "crashed": "has crashed",
}
