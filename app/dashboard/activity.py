"""What deploy commands do at this moment and how the last one ended, in words; each with what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.dashboard.words import ago_text, shortened, versioned
from app.deploy.record.history import Entry
from app.state.model import other

__all__ = ["Message", "at_work", "went_wrong"]

NEWS_S = 300.0
"""So long a command that failed is news, if no other one was given after it."""

_MOST_OF_A_REASON = 120


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence, and what it is about: that stays the same while only figures in the sentence change."""

    text: str
    topic: str
    phase: str | None = None


_PHASES = {
    None: "the command has begun",
    "preparing": "the commands before a start run",
    "clearing": "the old process finishes its requests and stops",
    "launching": "its process is being launched",
    "gating": "waiting for healthy answers",
    "smoke_test": "the smoke commands try it",
    "reverting": "the commands before a way back run",
    "canary": "it has a share of the requests, beside {other}",
    "promoting": "traffic is being switched",
    "linking": "the link to the active release is moved",
    "post_switch": "the commands after a switch run",
    "watching": "its errors and times are compared with {other}'s",
    "write_state": "the state file is being written",
    "draining": "waiting for the last requests",
    "retiring": "a version is being stopped",
    "sparing": "some of its processes get no new requests",
    "replacing": "some of its processes are being replaced",
    "adding": "more of its processes are being started",
    "removing": "some of its processes are being stopped",
}

_DOINGS = {
    "start": "{version} is being started",
    "stop": "{version} is being stopped",
    "restart": "{version} is being restarted",
    "scale": "{version} is getting more processes, or fewer",
    "drain": "A process of {version} is being taken out",
    "undrain": "A process of {version} is getting requests again",
    "switch": "{version} is about to take over",
    "rollback": "{version} is about to take over again",
    "deploy": "{version} is being deployed",
    "prepare": "{version} is being made ready for its fleet",
    "order": "The canary is being told what to do",
    "pause": "Traffic is being paused",
    "resume": "Traffic is being let through again",
    "maintenance": "The maintenance is being changed",
    "preview": "A preview is being made",
}
"""By operation. A version in the foreground is no work."""


def at_work(commands: Sequence[Entry]) -> Message | None:
    """The latest of the commands that are at work."""
    for entry in reversed(commands):
        if entry.operation in _DOINGS:
            doing = _DOINGS[entry.operation].format(version=versioned(entry.target.capitalize(), entry.release))
            phase = _PHASES.get(entry.phase, entry.phase or "").format(other=other(entry.target))
            return Message(f"{doing}: {phase}.", f"{entry.id} {entry.phase}", entry.phase)
    return None


_ENDINGS = {
    "failed": "failed",
    "unhealthy": "failed",
    "rolled back": "was rolled back",
    "doubtful": "is done, but doubtful,",
    "interrupted": "was interrupted",
    "broken off": "was broken off",
    "drain timed out": "ended before all requests did",
    "superseded": "lost the traffic to another command",
}
"""By outcome."""


def went_wrong(commands: Sequence[Entry], now: float) -> Message | None:
    """The last command, when it ended badly a short while ago. What the router did by itself does not count."""
    last = next((entry for entry in reversed(commands) if entry.operation in _DOINGS), None)
    if last is None or last.outcome in (None, "done"):
        return None
    ago_s = now - last.at - (last.duration_s or 0.0)
    if ago_s > NEWS_S:
        return None
    reason = f": {shortened(last.detail.rstrip('.'), _MOST_OF_A_REASON)}" if last.detail else ""
    ending = _ENDINGS.get(last.outcome or "", "failed")
    text = f"{last.operation.capitalize()} {last.target} {ending} {ago_text(ago_s)}{reason}"
    text += "" if text.endswith("…") else "."
    return Message(text, f"{last.id} {last.outcome}")
