"""What the router has in flight and has done, for the deploy commands: read from its shared metrics file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from app.address import Address
from app.canary.outcomes import Pair
from app.deploy.traffic import Row, Tally, Traffic, TrafficSample
from app.metrics.backend_rows import BackendRow
from app.metrics.shared import SharedMetrics
from app.metrics.snapshot import CutRequest, VersionStats
from app.operator_errors import MetricsError
from app.settings.tables.router_settings import RouterConfig
from app.state.model import VERSIONS, BlueGreenState, VersionState

if TYPE_CHECKING:
    from app.facts import Recent

__all__ = ["backend_rows", "open_traffic"]


def open_traffic(config: RouterConfig) -> Traffic | None:
    """The traffic of the router with this configuration; None when no router runs."""
    try:
        metrics = SharedMetrics.open(config.metrics_path)
    except MetricsError:
        return None
    if metrics.live_slots() == 0:
        metrics.close()
        return None
    return _RouterTraffic(metrics)


def backend_rows(
    config: RouterConfig, state: BlueGreenState, addresses: Callable[[VersionState], Sequence[Address]]
) -> dict[str, tuple[BackendRow, ...]]:
    """How the router that runs finds each backend of the versions that have several; nothing where none runs.

    `addresses` gives those of a version.
    """
    several = [(it, listed) for it in state.versions.values() if len(listed := addresses(it)) > 1]
    if not several:
        return {}
    with suppress(MetricsError):
        metrics = SharedMetrics.open(config.metrics_path)
        try:
            if metrics.live_slots():
                return {it.name: metrics.backend_rows(it.index, listed, it.drained) for it, listed in several}
        finally:
            metrics.close()
    return {}


_PACE_S = 300


class _RouterTraffic:
    """Follows the metrics file: a router that is reloaded or upgraded during a drain may make a new one.

    Workers of before then finish what they have, and count it in the old one.
    """

    def __init__(self, metrics: SharedMetrics) -> None:
        self._files = [metrics]  # the one that is under the name now comes last

    def in_flight(self, version: str) -> int:
        return sum(metrics.in_flight(version) for metrics in self._in_use())

    def in_flight_on(self, version: str, addresses: Sequence[Address]) -> int:
        found = [metrics.backend_rows(VERSIONS.index(version), addresses, ()) for metrics in self._in_use()]
        return sum(row.in_flight for rows in found for row in rows)

    def backends(self, version: str, addresses: Sequence[Address]) -> Sequence[BackendRow]:
        return self._current().backend_rows(VERSIONS.index(version), addresses)

    def uses(self, version: str, address: Address) -> bool:
        return not any(row.is_out for row in self.backends(version, [address]))

    def in_flight_rows(self, version: str) -> Sequence[Row]:
        rows = [row for metrics in self._in_use() for row in metrics.in_flight_rows(version)]
        return sorted(rows, key=lambda row: -row.age_s)

    def held(self) -> int:
        return self._current().held()

    def is_state_known(self, serial: int) -> bool:
        return all(metrics.is_state_known(serial) for metrics in self._in_use())

    def failover(self) -> str | None:
        return self._current().failover().version

    def tallies(self) -> dict[str, Tally]:
        # The router's own answers, too: a request that waits in a pause has no version yet.
        return {name: _tally(stats) for name, stats in self._current().snapshot().versions.items()}

    def cuts(self) -> Sequence[CutRequest]:
        return self._current().cuts()

    def conduct(self, version: str, seconds: int) -> TrafficSample:
        stats = self._current().snapshot(seconds).versions[version]
        return TrafficSample(stats.requests, stats.failed, stats.total.p95_ms)

    def pace(self, version: str) -> tuple[float, float] | None:
        total = self._current().snapshot(_PACE_S).versions[version].total
        return None if not total.p50_ms or not total.p95_ms else (total.p50_ms, total.p95_ms)

    def shared_out(self, canary: str, *, by_client: bool) -> Pair:
        blue, green = (arm.clients if by_client else arm.requests for arm in self._current().split_arms())
        return Pair(blue, green) if canary == VERSIONS[0] else Pair(green, blue)

    def clients_of(self, canary: str) -> int:
        return self._current().split_arms()[VERSIONS.index(canary)].seen

    def recent(self, version: str, lived_s: float | None) -> Recent:
        from app.metrics.recent import Recently  # a switch does without it

        return Recently(self._current()).of(version, lived_s)

    def _current(self) -> SharedMetrics:
        return self._in_use()[-1]

    def _in_use(self) -> Sequence[SharedMetrics]:
        if not self._files[-1].is_current:
            with suppress(MetricsError):  # it was deleted, and the workers go on with what they have mapped
                self._files.append(SharedMetrics.open(self._files[-1].path))
        for metrics in self._files[:-1]:
            if metrics.live_slots() == 0:
                metrics.close()
                self._files.remove(metrics)
        return self._files


def _tally(stats: VersionStats) -> Tally:
    return Tally(
        ended=stats.requests,
        in_flight=stats.in_flight,
        cut=stats.cut,
        failed=stats.failed,
        held=stats.held,
        held_ms=stats.held_ms or 0.0,
        retried=stats.retries,
        longest_held_ms=(stats.holds and stats.holds.max_ms) or 0.0,
        held_counts=stats.holds.counts if stats.holds is not None else (),
        streams=stats.streams,
    )
