"""Logins, as Prometheus' metric families."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.logins.login_figures import LoginFigures
from app.metrics.prometheus_state import PREFIX

__all__ = ["login_families"]


def login_families(logins: LoginFigures) -> Iterator[Metric]:
    """Every family, once; where there is a `[[login]]`."""
    passed = CounterMetricFamily(PREFIX + "login_passed", "Requests that a login has let through.")
    passed.add_metric([], logins.passed)
    yield passed
    for name, text, counts in (
        ("login_refused", "Requests that a login has refused.", logins.refused),
        ("login_would_refuse", 'Requests that one would have refused, with mode = "observe".', logins.observed),
    ):
        refused = CounterMetricFamily(PREFIX + name, text, labels=["reason"])
        for reason, count in counts.items():
            refused.add_metric([reason], count)
        yield refused
    usable = GaugeMetricFamily(PREFIX + "login_keys", "Usable keys of an issuer.", labels=["source"])
    age = GaugeMetricFamily(PREFIX + "login_keys_age_seconds", "Since they were fetched.", labels=["source"])
    fault = GaugeMetricFamily(PREFIX + "login_keys_fault", "1 while something is wrong with them.", labels=["source"])
    for state in logins.keys:
        usable.add_metric([state.source], state.keys)
        fault.add_metric([state.source], bool(state.fault))
        if state.age_s is not None:
            age.add_metric([state.source], state.age_s)
    yield from (usable, age, fault)
