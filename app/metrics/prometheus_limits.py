"""The limits as Prometheus' metric family."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.core import CounterMetricFamily, Metric

from app.limits.limit_figures import LimitFigures
from app.metrics.prometheus_state import PREFIX

__all__ = ["limit_family"]

_OUTCOMES = ("passed", "refused", "delayed", "would_refuse")


def limit_family(limits: Sequence[LimitFigures]) -> Metric:
    """What each limit has done."""
    text = 'Requests that a limit was about, by what it did ("delayed" ones passed, "would_refuse" is a dry run).'
    family = CounterMetricFamily(f"{PREFIX}limit_requests", text, labels=["limit", "outcome"])
    for limit in limits:
        for outcome in _OUTCOMES:
            family.add_metric([limit.name, outcome], getattr(limit, outcome))
    return family
