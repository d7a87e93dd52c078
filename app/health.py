"""What `/__router_health` says: whether traffic can flow, and where to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app import __version__
from app.metrics.snapshot import Probe
from app.proxy.service import Service

__all__ = ["health_report"]


def health_report(service: Service) -> dict[str, Any]:
    """The report as JSON will show it; traffic can flow when its `status` is "healthy".

    It can when a version is active and did not fail its last health check.
    """
    state = service.router.state.current()
    active = state.active if state is not None else None
    probes = service.metrics.probes(active.index) if active is not None else []
    last = probes[-1] if probes else None
    reason = ""
    if active is None:
        reason = service.router.state.fault or "no version is active"
    elif last is not None and not last.ok:
        reason = f"{active.name} on port {active.port} is unhealthy: {last.reason}"
    report: dict[str, Any] = {"status": "unhealthy" if reason else "healthy"}
    if reason:
        report["reason"] = reason
    report["active_port"] = active.port if active is not None else None
    report["active_version"] = active.name if active is not None else None
    report["backend"] = _backend(last) if last is not None else None
    report["state"] = {"fault": service.router.state.fault or None}
    report["metrics"] = {"fault": service.metrics.fault or None}
    report["router_version"] = __version__
    return report


def _backend(last: Probe) -> dict[str, Any]:
    """The last health check of the active version."""
    return {
        "ok": last.ok,
        "status": last.status or None,
        "latency_ms": round(last.latency_ms, 1),
        "reason": last.reason or None,
        "checked_at": datetime.fromtimestamp(last.at, UTC).isoformat(timespec="seconds"),
    }
