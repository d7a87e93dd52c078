"""Whether the nodes that have switched do worse than the others, or than they all did before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.deploy.judge.judgement import FEWEST_TO_COMPARE, Looks
from app.deploy.judge.watching import Evidence
from app.deploy.traffic import TrafficSample
from app.fleet.fleet_view import FleetView
from app.fleet.records import FleetRollout, Sample

__all__ = ["WaveWatch"]


class WaveWatch:
    """Of one wave; `before` is how each node did before its switch, as far as that is known."""

    def __init__(self, before: Mapping[str, Sample]) -> None:
        self._before = before
        self._looks = Looks()

    def look(self, fleet: FleetView, rollout: FleetRollout, *, is_last: bool) -> str:
        """What is worse, in words; "" while nothing is, or it is not certain. Slowness is judged by the last look."""
        evidence = self._evidence(fleet, rollout)
        level = Looks.last() if is_last else self._looks.level(evidence.after.requests)
        found = evidence.errors(level) or (evidence.slowness() if is_last else "")
        return f"the nodes that have switched do worse: {found}" if found else ""

    def _evidence(self, fleet: FleetView, rollout: FleetRollout) -> Evidence:
        """The others at the same time, where they have enough requests: what befalls all is not the release's."""
        said = {node: fleet.progress(rollout.id, node) for node in rollout.nodes}
        samples = {node: it.sample for node, it in said.items() if it is not None and it.sample is not None}
        switched = rollout.may_switch
        others = _sum(sample for node, sample in samples.items() if node not in switched)
        if others.requests < FEWEST_TO_COMPARE:
            others = _sum(self._before.values())
        return Evidence(others, _sum(sample for node, sample in samples.items() if node in switched))


def _sum(samples: Iterable[Sample]) -> TrafficSample:
    """All nodes' together; of their 95th percentiles the mean by their requests, near enough for twice as slow."""
    every = list(samples)
    requests = sum(it.requests for it in every)
    p95_ms = sum(it.p95_ms * it.requests for it in every) / requests if requests else None
    return TrafficSample(requests, sum(it.failed for it in every), p95_ms)
