"""What is known about the router at one moment: the value from which the whole page is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from app.deploy.conduct.canary_record import CanaryRecord
from app.deploy.record.history import Entry
from app.event_file import Event
from app.facts import Recent, Restarts
from app.metrics.snapshot import Snapshot
from app.situation import Situation, decide
from app.state.model import BlueGreenState
from app.survey import facts

if TYPE_CHECKING:  # most machines belong to no fleet
    from app.fleet.sight import FleetSight, Standing

__all__ = ["Column", "Figures", "Observation", "Past"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one version did in one column of a chart; latencies in ms, None without requests."""

    requests: int = 0
    failed: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    in_flight: int = 0


NOTHING = Figures()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of all charts: a stretch of time, by the versions' labels."""

    blue: Figures = NOTHING
    green: Figures = NOTHING
    router: Figures = NOTHING

    @property
    def requests(self) -> int:
        """Of all versions, and what the router answered without one."""
        return self.blue.requests + self.green.requests + self.router.requests

    @property
    def failed(self) -> int:
        """Of all versions, and what the router answered without one."""
        return self.blue.failed + self.green.failed + self.router.failed

    def of(self, name: str) -> Figures:
        """The figures of "blue", "green" or "router"."""
        found: Figures = getattr(self, name)
        return found


@dataclass(frozen=True, slots=True)
class Past:
    """Complete columns, oldest first, without gaps; `end` is the wall time at which the last one ended.

    When they are not `counted`, metrics are off, and nothing but what is in flight is known.
    """

    step_s: int
    end: float
    columns: Sequence[Column]
    is_counted: bool = True

    @property
    def span_s(self) -> int:
        """How much time the charts show."""
        return self.step_s * len(self.columns)

    @property
    def start(self) -> float:
        """The wall time at which the first column began."""
        return self.end - self.span_s


@dataclass(frozen=True)
class Observation:
    """Everything at wall time `at`.

    `state` is what is recorded, corrected by what the processes are found to do; `ended_at` says when a crashed
    version's process ended, where somebody saw it, and `restarts` how those fare that are started again. `lifetime`
    and `minute` are the metrics since the file was made and of the last 60 seconds, and `recent` is how the active
    version does. `commands` are the deploy history and `events` what happened without one, oldest first; `at_work` are
    the commands whose process runs at this moment. `elsewhere` are the addresses of versions that others run.
    `canary` is how the last rollout stands, while requests are shared out, and `fleet` what the machine's agent last
    saw and what follows from it, where it belongs to one. `backend_requests` are the last minute's by
    version and address, of versions with several backends. `worker_rates` are requests per second, by pid.
    """

    at: float
    state: BlueGreenState | None
    state_fault: str
    lifetime: Snapshot
    minute: Snapshot
    short: Past
    long: Past
    commands: Sequence[Entry] = ()
    events: Sequence[Event] = ()
    at_work: Sequence[Entry] = ()
    recent: Recent = Recent()
    ended_at: Mapping[str, float] = field(default_factory=dict)
    restarts: Mapping[str, Restarts] = field(default_factory=dict)
    elsewhere: Mapping[str, Sequence[str]] = field(default_factory=dict)
    backend_requests: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    worker_rates: Mapping[int, float] = field(default_factory=dict)
    canary: CanaryRecord | None = None
    fleet: tuple[FleetSight | None, Standing] | None = None
    metrics_on: bool = True

    @cached_property
    def situation(self) -> Situation:
        """What state the deployment is in."""
        past = (self.recent, self.ended_at, self.restarts)
        return decide(facts(self.at, self.state, self.state_fault, self.minute, *past, self.elsewhere))
