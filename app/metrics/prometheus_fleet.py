"""How the machine stands to its fleet, as Prometheus' metric families."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from app.fleet.sight import FleetSight, Standing
from app.metrics.prometheus_state import gauge

__all__ = ["fleet_families"]


def fleet_families(sight: FleetSight | None, standing: Standing) -> Iterator[Metric]:
    """Every family, once; where there is a `[fleet]`."""
    own_epoch, epoch, nodes = (sight.own.epoch, sight.epoch, len(sight.nodes)) if sight is not None else (0, 0, 0)
    for name, text, value in (
        ("isolated", "1 while the agent has heard nothing of etcd for ten seconds.", standing.is_isolated),
        ("fenced", "1 while that has lasted for longer than fence.", standing.is_fenced),
        ("behind", "1 while this machine does not run what the fleet has committed.", standing.is_behind),
        ("diverged", "1 while somebody has switched on this machine itself.", standing.is_diverged),
        ("drained", "1 while an operator has taken this machine out.", standing.is_drained),
        ("nodes", "Machines that are registered, as the agent last saw them.", nodes),
        ("epoch", "How often this machine has followed the fleet.", own_epoch),
        ("committed_epoch", "How often the fleet has committed a release, as the agent last saw it.", epoch),
    ):
        family = gauge(f"fleet_{name}", text, [])
        family.add_metric([], value)
        yield family
    heard = gauge("fleet_heard_age_seconds", "Since etcd last answered the agent; absent until it has.", [])
    if standing.age_s is not None:
        heard.add_metric([], standing.age_s)
    yield heard
