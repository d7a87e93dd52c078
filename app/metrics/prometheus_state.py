"""What the state file says, and what the router is made of, as Prometheus' metric families."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version as installed

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import __version__
from app.compiled import is_taken
from app.state.model import BlueGreenState
from app.state.split import WHOLE

__all__ = ["PREFIX", "StateCollector", "gauge"]

PREFIX = "traffic_router_"


def gauge(name: str, text: str, labels: list[str]) -> GaugeMetricFamily:
    """A family of ours, still without samples."""
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


class StateCollector(Collector):
    """A state at wall time `now`, None where none could ever be read, and the deployment's name, "" for none.

    `evidence` is what speaks against a canary that is judged, and how much of it leads back.
    """

    def __init__(
        self, state: BlueGreenState | None, now: float, name: str, evidence: tuple[float, float] | None = None
    ) -> None:
        self._name = name
        self._evidence = evidence
        self._state = state
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Every family, once."""
        yield _build(self._name)
        if self._state is not None:
            yield from self._versions(self._state)
            yield from self._modes(self._state)

    def _versions(self, state: BlueGreenState) -> Iterator[Metric]:
        active = gauge("version_active", "1 for the version that is active, 0 for the other.", ["version"])
        release = gauge("version_info", "The release of each version that has one; always 1.", ["version", "release"])
        for name, version in state.versions.items():
            active.add_metric([name], name == state.active_version)
            if version.release is not None:
                release.add_metric([name, version.release], 1)
        yield from (active, release)
        if state.split is not None:
            yield self._share(state)
            yield from self._judged()
        switches = CounterMetricFamily(f"{PREFIX}switches", "Times that a command made another version active.")
        switches.add_metric([], state.switches)
        yield switches
        switched = gauge("last_switch_timestamp_seconds", "When the active version was last set; Unix time.", [])
        if state.switched_at is not None:
            switched.add_metric([], state.switched_at)
        yield switched

    def _share(self, state: BlueGreenState) -> Metric:
        share = gauge("version_share", "The share of the requests that each version is to have, 0 to 1.", ["version"])
        canary = state.shared_at(self._now) / WHOLE
        for name in state.versions:
            share.add_metric([name], 1 - canary if name == state.active_version else canary)
        return share

    def _judged(self) -> Iterator[Metric]:
        for name, text, at in (
            ("canary_evidence", "What speaks against the canary: a likelihood ratio.", 0),
            ("canary_evidence_needed", "How much of that leads back.", 1),
        ):
            family = gauge(name, text, [])
            if self._evidence is not None:
                family.add_metric([], self._evidence[at])
            yield family

    def _modes(self, state: BlueGreenState) -> Iterator[Metric]:
        pause, maintenance = state.pause_at(self._now), state.maintenance_at(self._now)
        for name, text, on in (
            ("pause", "requests wait for the end of a pause", pause),
            ("maintenance", "clients are told of maintenance", maintenance),
        ):
            is_on = gauge(f"{name}_active", f"1 while {text}.", [])
            is_on.add_metric([], on is not None)
            began = gauge(f"{name}_start_timestamp_seconds", "When that began; Unix time. Nothing while it is off.", [])
            if on is not None:
                began.add_metric([], on.since)
            yield from (is_on, began)


def _build(name: str) -> Metric:
    packages = ("gevent", "gunicorn")
    labels = {
        "version": __version__,
        "python": platform.python_version(),
        "form": "compiled" if is_taken() else "pure",
        **{it: installed(it) for it in packages},
        "name": name,
    }
    family = gauge("build_info", "What the router is made of; always 1.", list(labels))
    family.add_metric(list(labels.values()), 1)
    return family
