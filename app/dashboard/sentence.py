"""What is going on, in one or two sentences: the first thing on the page, and often all one needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.command_line import PROGRAM
from app.dashboard.activity import Message, at_work, went_wrong
from app.dashboard.observation import Observation
from app.metrics.snapshot import Probe
from app.situation import Situation, named
from app.state.model import VersionState, other

__all__ = ["Sentence", "advice", "own_probes", "sentence"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """The text, how grave it is ("calm", "busy" or "alarm"), and what it is about.

    `topic` stays the same while only figures in the text change: a screen reader is told of a new topic, not of
    every second.
    """

    text: str
    tone: str
    topic: str


def own_probes(seen: Observation, version: VersionState) -> Sequence[Probe]:
    """The health checks of the version's process, oldest first; those of the process before it say nothing of it."""
    return [probe for probe in seen.minute.probes[version.name] if probe.at >= (version.started_at or 0.0)]


def sentence(seen: Observation, now: Situation) -> Sentence:
    """The sentence for what is seen: the situation, and what else is going on."""
    tone = now.kind.tone
    if seen.state is None or seen.state.active is None or seen.state_fault:
        return Sentence(now.text, tone, now.topic)
    work = at_work(seen.at_work)
    if now.word in _SAYS_IT_ALL and (work is None or work.phase == "draining"):
        return Sentence(now.text, tone, now.topic)
    news = went_wrong(seen.commands, seen.at) if tone == "calm" else None
    tail = work or news or _standby(seen, seen.state.version(other(seen.state.active.name)))
    tone = "busy" if tone == "calm" and (work or news) else tone
    return Sentence(f"{now.text} {tail.text}", tone, f"{now.topic}; {tail.topic}")


def advice(seen: Observation, said: Sentence, now: Situation) -> str:
    """The command line that helps, or nothing while all is well or a command is at work."""
    if now.word not in _HELD and at_work(seen.at_work) is not None:
        return ""
    return now.advice or (f"{PROGRAM} status" if said.tone == "busy" and now.kind.tone == "calm" else "")


_SAYS_IT_ALL = ("draining", "failover", "shared")
"""Situations in whose sentence the other version has its part already."""

_HELD = ("unknown", "inactive", "maintenance", "paused")
"""Here the command at work does not bring the traffic back by itself."""


def _standby(seen: Observation, version: VersionState) -> Message:
    """How the other version stands."""
    probes = own_probes(seen, version)
    said = _STANDBY.get(version.status)
    if version.name in seen.elsewhere and probes and not probes[-1].ok:
        said = "does not answer"  # nobody told us whether it is meant to
    elif said is None and probes and not probes[-1].ok:
        said = "is running but fails its health checks"
    elif said is None and not probes:
        said = "is running and has not been checked yet"
    elif version.status == "stopped" and probes and probes[-1].ok:  # started by somebody else's hands
        said = "is healthy and standing by"
    said = said or "is healthy and standing by"
    return Message(f"{named(version)} {said}.", f"{version.name} {said}")


_STANDBY = {
    "stopped": "is stopped",
    "starting": "is starting",
    "stopping": "is stopping",
    "crashed": "has crashed",
}
