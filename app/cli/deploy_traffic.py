"""What the router has in flight, for the deploy commands: read from its shared metrics file."""

from __future__ import annotations

from collections.abc import Sequence

from app.config import RouterConfig
from app.deploy.drain import Row, Traffic
from app.errors import MetricsError
from app.metrics.shared import SharedMetrics

__all__ = ["open_traffic"]


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


class _RouterTraffic:
    """Follows the metrics file: a router that is restarted during a drain may make a new one."""

    def __init__(self, metrics: SharedMetrics) -> None:
        self._metrics = metrics

    def in_flight(self, version: str) -> int:
        return self._current().in_flight(version)

    def in_flight_rows(self, version: str) -> Sequence[Row]:
        return self._current().in_flight_rows(version)

    def _current(self) -> SharedMetrics:
        if not self._metrics.is_current:
            try:
                newer = SharedMetrics.open(self._metrics.path)
            except MetricsError:
                return self._metrics  # workers that still run count in the file that they have mapped
            self._metrics.close()
            self._metrics = newer
        return self._metrics
