"""The documented import path of `MetricsCollector`; the code lives in `app.metrics.collector`."""

from app.metrics.collector import MetricsCollector

__all__ = ["MetricsCollector"]
