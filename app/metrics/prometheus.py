"""The figures for Prometheus: text format 0.0.4 and OpenMetrics 1.0, through prometheus_client's exposition.

Import this module when the first scrape comes, not at start: prometheus_client costs every worker some
start-up time and memory. Each family is made fresh from a snapshot; nothing is registered and nothing kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from app.errors import CAUSES
from app.metrics.exposition import Format
from app.metrics.histogram import count_up_to
from app.metrics.prometheus_backends import backend_families
from app.metrics.prometheus_limits import limit_family
from app.metrics.prometheus_logins import login_families
from app.metrics.prometheus_state import PREFIX, StateCollector, gauge
from app.metrics.snapshot import Latency, Snapshot, VersionStats
from app.situation import KINDS, SEEN_FROM_OUTSIDE
from app.state.model import BlueGreenState

if TYPE_CHECKING:
    from app.fleet.sight import FleetSight, Standing

BUCKETS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
"""The `le` limits. Ours are finer; a request counts below a limit when its own bucket's middle does (within
1/64).
"""

_COUNTERS: tuple[tuple[str, str, Callable[[VersionStats], float]], ...] = (
    ("failed_requests", "Requests whose client got a 5xx or a broken-off answer.", lambda v: v.failed),
    ("cut_requests", "Requests whose client got a broken-off answer, the aborted ones included.", lambda v: v.cut),
    ("aborted_requests", "Requests in flight in a worker when it died.", lambda v: v.aborted),
    ("retries", "Further attempts at requests already counted.", lambda v: v.retries),
    ("held_requests", "Requests held back for a while before they were sent.", lambda v: v.held),
    ("queued_requests", "Waits for room on a backend, where max_in_flight is set.", lambda v: v.queue.waits),
    ("queued_seconds", "How long these waits took together.", lambda v: v.queue.total_ms / 1000),
    ("request_body_bytes", "Bytes of request bodies.", lambda v: v.bytes_in or 0),
    ("response_body_bytes", "Bytes of answer bodies.", lambda v: v.bytes_out or 0),
)
_HISTOGRAMS: tuple[tuple[str, str, Callable[[VersionStats], Latency | None]], ...] = (
    (
        "request_duration_seconds",
        "From the request's head received to the last byte of the answer sent.",
        lambda v: v.total,
    ),
    (
        "time_to_first_byte_seconds",
        "From the request's head received to the first byte of the answer sent.",
        lambda v: v.first_byte,
    ),
    (
        "upstream_duration_seconds",
        "From the request sent upstream to the head of its answer received.",
        lambda v: v.upstream,
    ),
    ("held_seconds", "How long requests were held back before they were sent or given up.", lambda v: v.holds),
)


class SnapshotCollector(Collector):
    """A lifetime snapshot as Prometheus' metric families, and the state beside it."""

    def __init__(
        self,
        snapshot: Snapshot,
        situation: str,
        state: StateCollector,
        fleet: tuple[FleetSight | None, Standing] | None,
    ) -> None:
        self._snapshot = snapshot
        self._situation = situation
        self._state = state
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """Every family, once."""
        yield self._requests()
        yield self._errors()
        for name, text, value in _COUNTERS:
            counter = CounterMetricFamily(PREFIX + name, text, labels=["version"])
            for version, stats in self._snapshot.versions.items():
                counter.add_metric([version], value(stats))
            yield counter
        for name, text, latency_of in _HISTOGRAMS:
            yield self._histogram(name, text, latency_of)
        yield _counter("failovers", "Times that requests went over to the standby.", self._snapshot.failover.count)
        yield _counter("lost_log_lines", "Lines of the access log that were lost.", self._snapshot.lost_lines)
        yield from self._gauges()
        yield from self._state.collect()

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            f"{PREFIX}requests",
            'Requests answered, by the class of the status that the client saw ("none": it saw none).',
            labels=["version", "code_class"],
        )
        for version, stats in self._snapshot.versions.items():
            for code_class, count in stats.code_classes.items():
                family.add_metric([version, code_class], count)
        return family

    def _errors(self) -> Metric:
        """All causes from the start, at 0: a series that appears with its first error has no rate for it."""
        family = CounterMetricFamily(
            f"{PREFIX}errors", "Requests that ended with an error, by cause.", labels=["version", "cause"]
        )
        for version, stats in self._snapshot.versions.items():
            for cause in CAUSES[1:]:
                family.add_metric([version, cause], stats.causes.get(cause, 0))
        return family

    def _histogram(self, name: str, text: str, latency_of: Callable[[VersionStats], Latency | None]) -> Metric:
        family = HistogramMetricFamily(PREFIX + name, text, labels=["version"])
        limits_us = [round(limit * 1_000_000) for limit in BUCKETS_S]
        known = ((version, latency_of(stats)) for version, stats in self._snapshot.versions.items())
        for version, latency in ((version, latency) for version, latency in known if latency is not None):
            counts = count_up_to(latency.counts, limits_us)
            buckets = [(repr(limit), float(n)) for limit, n in zip(BUCKETS_S, counts, strict=True)]
            family.add_metric([version], [*buckets, ("+Inf", latency.count)], latency.sum_ms / 1000)
        return family

    def _gauges(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        in_flight = gauge("requests_in_flight", "Requests being answered now.", ["version"])
        for version, stats in snapshot.versions.items():
            in_flight.add_metric([version], stats.in_flight)
        yield in_flight
        up = gauge("backend_up", "Whether the last health probe of the version was good.", ["version"])
        took = gauge("backend_probe_duration_seconds", "How long that probe took.", ["version"])
        for version, probes in snapshot.probes.items():
            if probes:
                up.add_metric([version], probes[-1].ok)
                took.add_metric([version], probes[-1].latency_ms / 1000)
        yield from (up, took)
        situation = gauge("situation", "1 for what the deployment is in, 0 for the rest.", ["situation"])
        for word in [word for word in KINDS if word not in SEEN_FROM_OUTSIDE]:
            situation.add_metric([word], word == self._situation)
        yield situation
        if snapshot.backends:
            yield from backend_families(snapshot.backends)
        if snapshot.limits:
            yield limit_family(snapshot.limits)
        if snapshot.logins is not None:
            yield from login_families(snapshot.logins)
        if self._fleet is not None:
            from app.metrics.prometheus_fleet import fleet_families  # most machines belong to none

            yield from fleet_families(*self._fleet)
        workers = sum(worker.role == "worker" for worker in snapshot.workers)
        for name, text, value in (
            ("requests_held", "Requests held back now, in a pause or while their version is down.", snapshot.held),
            ("requests_queued", "Requests waiting now for room on a backend.", snapshot.queued),
            ("failover_active", "1 while requests go to the standby.", snapshot.failover.workers > 0),
            ("workers", "Live router workers.", workers),
            ("uptime_seconds", "Since the router was started while none was running.", snapshot.uptime_s),
            ("state_fault", "1 while a worker cannot read the state file.", snapshot.state_fault),
            ("log_fault", "1 while a worker cannot write the access log.", snapshot.log_fault),
            ("metrics_fault", "1 while the figures are not kept in their file.", bool(snapshot.fault)),
        ):
            family = gauge(name, text, [])
            family.add_metric([], value)
            yield family


def _counter(name: str, text: str, count: int) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=[])
    family.add_metric([], count)
    return family


def render(
    snapshot: Snapshot,
    form: Format,
    situation: str,
    state: BlueGreenState | None,
    name: str = "",
    fleet: tuple[FleetSight | None, Standing] | None = None,
    evidence: tuple[float, float] | None = None,
) -> tuple[bytes, str]:
    """The body and the Content-Type of a scrape's answer, "openmetrics" or else "prometheus".

    Args:
        situation: its word.
        state: what the state file says, None when it has never said anything.
        name: the deployment's, "" for none.
        fleet: what the agent last saw, and what follows from it; None on a machine that belongs to none.
        evidence: what speaks against a canary, and how much leads back; None where none is judged.

    Raises ValueError for the snapshot of a window: its counters would go backwards.
    """
    if snapshot.window_s is not None:
        raise ValueError("a window has no counters for Prometheus")
    collector = SnapshotCollector(snapshot, situation, StateCollector(state, time.time(), name, evidence), fleet)
    if form == "openmetrics":
        # prometheus_client annotates the one generate_latest and not the other.
        body: bytes = generate_openmetrics(collector)  # type: ignore[no-untyped-call]
        return body, CONTENT_TYPE_OPENMETRICS
    return generate_latest(collector), CONTENT_TYPE_PLAIN_0_0_4
