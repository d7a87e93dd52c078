"""What a deploy command tells while it works: values that the command line renders and tests compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.deploy.receipt import Conduct, Receipt
from app.upstream.health import ProbeResult

__all__ = [
    "Diagnosed",
    "Drained",
    "Draining",
    "Ended",
    "Event",
    "Found",
    "Launched",
    "LockAwaited",
    "Noted",
    "Overdue",
    "Probed",
    "Promoted",
    "ReceiptReady",
    "Reporter",
    "RolledBack",
    "Running",
    "Ran",
    "Stopped",
    "Stopping",
    "TimedProbe",
    "Watched",
    "Watching",
]


@dataclass(frozen=True, slots=True)
class TimedProbe:
    """A probe and when in the gate it was made, in seconds since the gate began."""

    elapsed_s: float
    result: ProbeResult


@dataclass(frozen=True, slots=True)
class LockAwaited:
    """Another command is at work; `holder` names it as far as is known."""

    holder: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class Found:
    """An earlier command has no end in the history: what it was doing and what stands.

    `has_broken_off`: it was killed at that. Otherwise it may well have come to its end, which the history has lost.
    """

    command: str
    pid: int
    phase: str
    left_behind: str
    has_broken_off: bool = True


@dataclass(frozen=True, slots=True)
class Noted:
    """Something the operator should know; a warning when `warns`."""

    text: str
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Launched:
    """A process was started for a version."""

    version: str
    pid: int
    port: int
    command: str
    directory: Path
    release: str | None
    log: Path
    is_demo: bool


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe of the health gate: `streak` of the `needed` successes in a row so far."""

    version: str
    port: int
    probe: TimedProbe
    streak: int
    needed: int


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """Why a version did not get through the gate: its last probes and the end of its log, oldest first."""

    version: str
    probes: tuple[TimedProbe, ...]
    log: Path
    log_tail: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Promoted:
    """From now on each new request goes to `version`."""

    version: str
    port: int
    previous: str | None
    is_first: bool


@dataclass(frozen=True, slots=True)
class Draining:
    """What a version still has in flight; `oldest` is one such as "GET /report", "" when unknown."""

    version: str
    in_flight: int
    oldest_s: float
    oldest: str
    left_s: float


@dataclass(frozen=True, slots=True)
class Drained:
    """A version has no request in flight any more, `duration_s` after the drain began."""

    version: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Overdue:
    """The time for a drain is up and requests are in flight; `named` are those that are known by name."""

    version: str
    in_flight: int
    duration_s: float
    named: tuple[str, ...]
    will_wait: bool


@dataclass(frozen=True, slots=True)
class ReceiptReady:
    """What became of every request."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Running:
    """A smoke or post command runs."""

    command: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Ran:
    """A smoke or post command has ended; `failure` is empty when it did well, `output` is the end of what it said."""

    command: str
    duration_s: float
    failure: str
    output: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Watching:
    """How the new version does so far, and how the old one did before the switch."""

    version: str
    left_s: float
    before: Conduct
    after: Conduct


@dataclass(frozen=True, slots=True)
class Watched:
    """The end of the watch, no more errors having been found."""

    version: str
    before: Conduct
    after: Conduct


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The new version was found wanting under traffic, and the one before it is active again."""

    version: str
    port: int
    gave_up: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """A version's process was asked to end and has `timeout_s` seconds for it."""

    version: str
    pid: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """A version's process has ended; `was_killed` when it needed SIGKILL."""

    version: str
    pid: int
    exit_status: int | None
    was_killed: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A version in the foreground ended by itself."""

    version: str
    exit_status: int


Event = (
    LockAwaited
    | Found
    | Noted
    | Launched
    | Probed
    | Diagnosed
    | Promoted
    | Draining
    | Drained
    | Overdue
    | ReceiptReady
    | Running
    | Ran
    | RolledBack
    | Watching
    | Watched
    | Stopping
    | Stopped
    | Ended
)

Reporter = Callable[[Event], None]
"""Gets each event as it happens; must not raise."""
