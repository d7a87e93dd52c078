"""What a deploy command tells while it works: values that the command line renders and tests compare.

Named tuples with plain annotations: each command waits for these classes to be made, and twenty dataclasses take it
longer than a switch does. Annotations as texts (`from __future__`) would be compiled one by one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from app.address import Address
from app.deploy.record.receipt import Receipt
from app.deploy.traffic import TrafficSample
from app.upstream.probe import ProbeResult

__all__ = [
    "Diagnosed",
    "Drained",
    "Draining",
    "Ended",
    "Event",
    "BrokenOff",
    "CanaryJudged",
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


class TimedProbe(NamedTuple):
    """A probe and when in the gate it was made, in seconds since the gate began."""

    elapsed_s: float
    result: ProbeResult


class LockAwaited(NamedTuple):
    """Another command is at work; `holder` names it as far as is known."""

    holder: str
    wait_s: float


class BrokenOff(NamedTuple):
    """An earlier command has no end in the history: what it was doing and what stands.

    `has_broken_off`: it was killed at that. Otherwise it may well have come to its end, which the history has lost.
    """

    command: str
    pid: int
    phase: str
    left_behind: str
    has_broken_off: bool = True


class Noted(NamedTuple):
    """Something the operator should know; a warning when `warns`."""

    text: str
    warns: bool = False


class Launched(NamedTuple):
    """A process was started for a version; it has no `log` of ours when it writes to our own output.

    `is_further`: another one like the first, which has told the rest.
    """

    version: str
    pid: int
    place: str
    command: str
    directory: Path
    release: str | None
    log: Path | None
    is_demo: bool
    is_further: bool = False


class Probed(NamedTuple):
    """A probe of the health gate: `streak` of the `needed` successes in a row so far."""

    version: str
    address: Address
    probe: TimedProbe
    streak: int
    needed: int


class Diagnosed(NamedTuple):
    """Why a version did not get through the gate: its last probes and the end of its log, oldest first."""

    version: str
    probes: tuple[TimedProbe, ...]
    log: Path
    log_tail: tuple[str, ...]


class CanaryJudged(NamedTuple):
    """How a canary stands, in words; `is_news` when its share or what is decided of it is another one than before."""

    version: str
    text: str
    is_news: bool = True


class Promoted(NamedTuple):
    """From now on each new request goes to `version`; `has_router`: there is somebody who sends them."""

    version: str
    place: str
    previous: str | None
    is_first: bool
    has_router: bool = True


class Draining(NamedTuple):
    """What a version still has in flight; `oldest` is one such as "GET /report", "" when unknown."""

    version: str
    in_flight: int
    oldest_s: float
    oldest: str
    left_s: float


class Drained(NamedTuple):
    """A version has no request in flight any more, `duration_s` after the drain began."""

    version: str
    duration_s: float


class Overdue(NamedTuple):
    """The time for a drain is up and requests are in flight; `named` are those that are known by name."""

    version: str
    in_flight: int
    duration_s: float
    named: tuple[str, ...]
    will_wait: bool


class ReceiptReady(NamedTuple):
    """What became of every request."""

    receipt: Receipt


class Running(NamedTuple):
    """A smoke or post command runs."""

    command: str
    timeout_s: float


class Ran(NamedTuple):
    """A smoke or post command has ended; `failure` is empty when it did well, `output` is the end of what it said."""

    command: str
    duration_s: float
    failure: str
    output: tuple[str, ...]


class Watching(NamedTuple):
    """How the new version does so far, and how the old one did before the switch."""

    version: str
    left_s: float
    before: TrafficSample
    after: TrafficSample


class Watched(NamedTuple):
    """The end of the watch; `errors` and `times` say what was judged of them, and what a proof would need."""

    version: str
    before: TrafficSample
    after: TrafficSample
    errors: str
    times: str


class RolledBack(NamedTuple):
    """The new version was found wanting under traffic, and the one before it is active again."""

    version: str
    place: str
    gave_up: str
    runs: bool = True
    """The version that was given up, for somebody to look at."""
    has_router: bool = True


class Stopping(NamedTuple):
    """A version's process was asked to end and has `timeout_s` seconds for it."""

    version: str
    pid: int
    timeout_s: float


class Stopped(NamedTuple):
    """A version's process has ended; `was_killed` when it needed SIGKILL."""

    version: str
    pid: int
    exit_status: int | None
    was_killed: bool


class Ended(NamedTuple):
    """A version in the foreground ended by itself."""

    version: str
    exit_status: int


Event = (
    LockAwaited
    | BrokenOff
    | Noted
    | Launched
    | Probed
    | Diagnosed
    | CanaryJudged
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
