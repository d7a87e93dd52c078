"""The backends of versions that have several, as Prometheus' metric families."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.metrics.backend_rows import OK, BackendRow
from app.metrics.prometheus_state import PREFIX

__all__ = ["backend_families"]

_FAMILIES: tuple[tuple[type[CounterMetricFamily | GaugeMetricFamily], str, str, Callable[[BackendRow], float]], ...] = (
    (
        CounterMetricFamily,
        "backend_requests",
        "Requests begun on a backend of a version with several, further attempts included.",
        lambda row: row.requests,
    ),
    (
        CounterMetricFamily,
        "backend_failures",
        "Gateway failures of a backend: refused, reset, timed out; whether or not a client heard of it.",
        lambda row: row.failures,
    ),
    (GaugeMetricFamily, "backend_in_flight", "Requests in flight on a backend now.", lambda row: row.in_flight),
    (
        GaugeMetricFamily,
        "backend_available",
        "Whether requests go to the backend: it is not ejected, not unhealthy and not drained.",
        lambda row: row.state == OK,
    ),
)


def backend_families(backends: Mapping[str, Sequence[BackendRow]]) -> Iterator[Metric]:
    """Every family, once, for the backends by version."""
    for family_of, name, text, value in _FAMILIES:
        family = family_of(PREFIX + name, text, labels=["version", "backend"])
        for version, rows in backends.items():
            for row in rows:
                family.add_metric([version, row.address], value(row))
        yield family
