"""What is known of a deployment at one moment: the facts that `app.situation` makes a sentence of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.metrics.backend_rows import BackendRow
from app.state.model import BlueGreenState, VersionState

__all__ = ["Checks", "Facts", "Failure", "Recent", "Restarts"]


class Failure(NamedTuple):
    """How many requests failed by one cause, "" for the application's own 5xx; and the status and the path of most of
    them, "" where there is no such or none is known.
    """

    times: int
    cause: str
    status: str = ""
    path: str = ""


class Recent(NamedTuple):
    """How a version did in the last minute, or since its start where that is less.

    `failures` are the failed requests by cause, most first. `failing_for_s` is how long ago they began, `usual_p95_ms`
    what its p95 mostly was in the half hour before; None where that is not known.
    """

    requests: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    failing_for_s: float | None = None
    p95_ms: float | None = None
    usual_p95_ms: float | None = None


class Restarts(NamedTuple):
    """How a version that is restarted by its supervisor (`[app] restart`) has fared; times are wall times.

    `is_on`: it is to be started again should it fail. `times` says how often it was, the last time at `started_at`;
    `next_at` is when it will be, where it has just failed. `gave_up`: it failed too often in a row.
    """

    is_on: bool
    gave_up: bool
    times: int
    started_at: float
    next_at: float | None
    last_exit_status: int | None
    last_ended_at: float | None


class Checks(NamedTuple):
    """How a version's last health checks went: how many failed in a row up to now, and why the last one did."""

    failing: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a deployment at wall time `at`.

    `state` is what is recorded, corrected by what the processes are found to do; `silence` says why no router
    answers, "" while one does. `checks` has the versions that were checked since they were started. `failover_from`
    is the version whose requests go to the other one. `recent` is the active version's. `ended_at` says when a
    crashed version's process ended, where somebody saw it, and `restarts` how those fare that are started again then.
    `backends` are those of versions that have several, and `elsewhere` the addresses of versions that others run.
    """

    at: float
    state: BlueGreenState | None
    state_fault: str = ""
    silence: str = ""
    checks: Mapping[str, Checks] = field(default_factory=dict)
    failover_from: str | None = None
    held: int = 0
    recent: Recent = Recent()
    in_flight: Mapping[str, int] = field(default_factory=dict)
    oldest_s: Mapping[str, float] = field(default_factory=dict)
    ended_at: Mapping[str, float] = field(default_factory=dict)
    restarts: Mapping[str, Restarts] = field(default_factory=dict)
    backends: Mapping[str, Sequence[BackendRow]] = field(default_factory=dict)
    elsewhere: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def is_well(self, version: VersionState) -> bool:
        """Whether it could take the traffic."""
        checks = self.checks.get(version.name)
        return checks is not None and not checks.failing and version.status != "crashed"
