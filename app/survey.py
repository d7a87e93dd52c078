"""What the router's workers can see of the deployment that they serve: the facts for `app.situation`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from app.deploy.processes import Found, Processes
from app.deploy.reconcile import as_found, ends_of_crashed, restarts_of
from app.metrics.shared import SharedMetrics
from app.metrics.snapshot import Probe, Snapshot
from app.situation import Checks, Facts, Restarts, Situation, decide
from app.state.model import VERSIONS, BlueGreenState, put_version
from app.state.watch import StateWatch

__all__ = ["Look", "Survey", "Throttled", "WINDOW_S", "as_they_are", "facts", "failing_probes", "find_all"]

WINDOW_S = 60


def find_all(state: BlueGreenState | None, processes: Processes) -> dict[str, Found]:
    """What the processes of the versions are found to do."""
    return {version.name: processes.find(version) for version in state.versions.values()} if state is not None else {}


def as_they_are(state: BlueGreenState, found: Mapping[str, Found], *, is_settled: bool) -> BlueGreenState:
    """The state, corrected by what the processes are found to do; `is_settled` is as in `as_found`."""
    for version in tuple(state.versions.values()):
        state = put_version(state, as_found(version, found[version.name], is_settled=is_settled))
    return state


def failing_probes(probes: Sequence[Probe]) -> int:
    """How many health checks in a row have failed up to now."""
    return next((count for count, probe in enumerate(reversed(probes)) if probe.ok), len(probes))


def facts(
    at: float,
    state: BlueGreenState | None,
    state_fault: str,
    minute: Snapshot,
    ended_at: Mapping[str, float],
    restarts: Mapping[str, Restarts],
) -> Facts:
    """The facts at wall time `at`, out of the last minute's figures; `state` is as the processes are found."""
    active = state.active_version if state is not None else None
    stats = minute.versions[active] if active is not None else None
    checks = {}
    for name in VERSIONS:
        # Those of the process before it say nothing of it.
        since = (state.version(name).started_at or 0.0) if state is not None else 0.0
        probes = [probe for probe in minute.probes[name] if probe.at >= since]
        if probes:
            checks[name] = Checks(failing_probes(probes), probes[-1].reason)
    oldest_s = {name: max((row.age_s for row in minute.rows if row.version == name), default=None) for name in VERSIONS}
    return Facts(
        at=at,
        state=state,
        state_fault=state_fault,
        checks=checks,
        failover_from=minute.failover.version,
        held=minute.held,
        requests=stats.requests if stats is not None else 0,
        failed=stats.failed if stats is not None else 0,
        failures=stats.failures if stats is not None else {},
        in_flight={name: minute.versions[name].in_flight for name in VERSIONS},
        oldest_s={name: age_s for name, age_s in oldest_s.items() if age_s is not None},
        ended_at=ended_at,
        restarts=restarts,
    )


T = TypeVar("T")


class Throttled(Generic[T]):
    """A value that is worked out anew as often as its cost allows.

    Summing the metrics takes half a millisecond for each slot that was ever used, and a large router has many:
    what a look costs may take one part in `SHARE` of the time. The processor's time is meant: on a busy machine,
    a look that had to wait would keep an old value for long, just when something happens.
    """

    SHARE = 1000

    def __init__(self, make: Callable[[], T], clock: Callable[[], float], work: Callable[[], float] = time.thread_time):
        self._make = make
        self._clock = clock
        self._work = work
        self._made: tuple[T, float] | None = None

    def value(self) -> T:
        """The value, at most so old as it cost."""
        if self._made is None or self._clock() >= self._made[1]:
            began = self._work()
            value = self._make()
            # A tenth of a second early, or a look that comes a millisecond too soon would make it wait for the next.
            self._made = value, self._clock() - 0.1 + max(1.0, (self._work() - began) * self.SHARE)
        return self._made[0]


class Look(NamedTuple):
    """What is seen at one moment; `state` is what is recorded, corrected by what the processes are `found` to do."""

    situation: Situation
    state: BlueGreenState | None
    found: Mapping[str, Found]


class Survey:
    """Tells one worker what state the deployment is in.

    Args:
        state_file: the processes are recorded beside it.
        metrics: the figures of all workers.
        watch: the state file.
    """

    def __init__(self, state_file: str, metrics: SharedMetrics, watch: StateWatch) -> None:
        self._processes = Processes(Path(state_file).parent)
        self._metrics = metrics
        self._watch = watch
        # Balancers ask often.
        self._minute = Throttled(partial(metrics.snapshot, WINDOW_S), time.monotonic)

    def situation(self, last: tuple[str, Probe] | None = None) -> Situation:
        """What it is in at this moment; `last` is a version and its last health check, where that was just made."""
        return self.look(last).situation

    def look(self, last: tuple[str, Probe] | None = None) -> Look:
        """The situation, and what it follows from."""
        metrics, state = self._metrics, self._watch.current()
        minute = self._minute.value()
        probes: dict[str, Sequence[Probe]] = {name: metrics.probes(index) for index, name in enumerate(VERSIONS)}
        if last is not None and last[1] not in probes[last[0]]:
            probes[last[0]] = [last[1]]
        versions = {name: stats._replace(in_flight=metrics.in_flight(name)) for name, stats in minute.versions.items()}
        minute = minute._replace(
            versions=versions, probes=probes, rows=metrics.in_flight_rows(), failover=metrics.failover()
        )
        found = find_all(state, self._processes)
        if state is not None:
            state = as_they_are(state, found, is_settled=False)
        ended_at = ends_of_crashed(state, found)
        all_facts = facts(time.time(), state, self._watch.fault, minute, ended_at, restarts_of(found))
        return Look(decide(all_facts), state, found)
