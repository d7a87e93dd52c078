"""What the router's workers can see of the deployment that they serve: the facts for `app.situation`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.address import Address
from app.deploy.processes.process_table import Found, Processes
from app.deploy.processes.reconcile import as_found, ends_of_crashed, restarts_of
from app.facts import Checks, Facts, Recent, Restarts
from app.metrics.backend_rows import BackendRow
from app.metrics.recent import Recently
from app.metrics.shared import SharedMetrics
from app.metrics.snapshot import Probe, Snapshot
from app.settings.loading import Loaded
from app.situation import Situation, decide
from app.state.model import VERSIONS, BlueGreenState, VersionState, put_version
from app.state.watch import StateWatch

if TYPE_CHECKING:
    from app.fleet.sight import FleetSight, Standing

__all__ = ["HERE", "Look", "Survey", "Whereabouts", "as_they_are", "facts", "failing_probes", "recent_of"]


class Whereabouts(NamedTuple):
    """Where versions listen.

    Attributes:
        addresses: of a version, at least one.
        others: those of a version that others run, as they are written; none of one that the commands start.
    """

    addresses: Callable[[VersionState], Sequence[Address]]
    others: Callable[[VersionState], Sequence[str]]

    def elsewhere(self, state: BlueGreenState | None) -> dict[str, tuple[str, ...]]:
        """The addresses of the versions that others run."""
        found = {version.name: self.others(version) for version in _versions(state or BlueGreenState())}
        return {name: tuple(addresses) for name, addresses in found.items() if addresses}

    def backends(self, state: BlueGreenState | None, metrics: SharedMetrics) -> dict[str, tuple[BackendRow, ...]]:
        """How each backend is of the versions that have several."""
        several = [(it, listed) for it in _versions(state) if len(listed := self.addresses(it)) > 1]
        return {it.name: metrics.backend_rows(it.index, listed, it.drained) for it, listed in several}


def _versions(state: BlueGreenState | None) -> Sequence[VersionState]:
    return () if state is None else tuple(state.versions.values())


HERE = Whereabouts(lambda version: (), lambda version: ())
"""Each version at its port, and nowhere else."""


def fleet_of(settings: Loaded) -> tuple[FleetSight | None, Standing] | None:
    """What the agent last saw of the machine's fleet, and what follows from it now; None where it belongs to none."""
    if not settings.fleet.is_on:
        return None
    from app.fleet.sight_file import fleet_now  # most machines belong to none

    return fleet_now(Path(settings.config.beside_state("")), settings.fleet)


def as_they_are(state: BlueGreenState, found: Mapping[str, Found], *, is_settled: bool) -> BlueGreenState:
    """The state, corrected by what the processes are found to do; `is_settled` is as in `as_found`."""
    for version in tuple(state.versions.values()):
        actual = as_found(version, found[version.name], is_settled=is_settled)
        state = replace(put_version(state, actual), serial=state.serial)  # to look is no change
    return state


def failing_probes(probes: Sequence[Probe]) -> int:
    """How many health checks in a row have failed up to now."""
    return next((count for count, probe in enumerate(reversed(probes)) if probe.ok), len(probes))


def recent_of(recently: Recently, state: BlueGreenState | None, at: float) -> Recent:
    """How the active version does; nothing without one."""
    active = state.active if state is not None else None
    if active is None:
        return Recent()
    return recently.of(active.name, active.lived_s(at))


def facts(
    at: float,
    state: BlueGreenState | None,
    state_fault: str,
    minute: Snapshot,
    recent: Recent,
    ended_at: Mapping[str, float],
    restarts: Mapping[str, Restarts],
    elsewhere: Mapping[str, Sequence[str]],
) -> Facts:
    """The facts at wall time `at`, out of the last minute's figures; `state` is as the processes are found."""
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
        recent=recent,
        in_flight={name: minute.versions[name].in_flight for name in VERSIONS},
        oldest_s={name: age_s for name, age_s in oldest_s.items() if age_s is not None},
        ended_at=ended_at,
        restarts=restarts,
        backends=minute.backends,
        elsewhere=elsewhere,
    )


class Look(NamedTuple):
    """What is seen at one moment; `state` is what is recorded, corrected by what the processes are `found` to do.

    `backends` are those of versions that have several, `elsewhere` the addresses of versions that others run.
    """

    situation: Situation
    state: BlueGreenState | None
    found: Mapping[str, Found]
    backends: Mapping[str, Sequence[BackendRow]]
    elsewhere: Mapping[str, Sequence[str]]


class Survey:
    """Tells one worker what state the deployment is in.

    Args:
        state_file: the processes are recorded beside it.
        metrics: the figures of all workers.
        watch: the state file.
        where: where the versions listen.
    """

    def __init__(self, state_file: str, metrics: SharedMetrics, watch: StateWatch, where: Whereabouts = HERE) -> None:
        self._processes = Processes(Path(state_file).parent)
        self._metrics = metrics
        self._watch = watch
        self._where = where
        self._recently = Recently(metrics)

    def backends(self) -> Mapping[str, Sequence[BackendRow]]:
        """How each backend is of the versions that have several."""
        return self._where.backends(self._watch.current(), self._metrics)

    def look(self, last: tuple[str, Probe] | None = None) -> Look:
        """The situation, and what it follows from."""
        metrics, state = self._metrics, self._watch.current()
        minute = self._recently.minute
        probes: dict[str, Sequence[Probe]] = {name: metrics.probes(index) for index, name in enumerate(VERSIONS)}
        if last is not None and last[1] not in probes[last[0]]:
            probes[last[0]] = [last[1]]
        versions = {name: stats._replace(in_flight=metrics.in_flight(name)) for name, stats in minute.versions.items()}
        minute = minute._replace(
            versions=versions,
            probes=probes,
            rows=metrics.in_flight_rows(),
            failover=metrics.failover(),
            backends=self._where.backends(state, metrics),
        )
        found = self._processes.find_all(state)
        if state is not None:
            state = as_they_are(state, found, is_settled=False)
        ended_at = ends_of_crashed(state, found)
        at = time.time()
        recent = recent_of(self._recently, state, at)
        elsewhere = self._where.elsewhere(state)
        seen = facts(at, state, self._watch.fault, minute, recent, ended_at, restarts_of(found), elsewhere)
        return Look(decide(seen), state, found, minute.backends, elsewhere)
