"""What `/__router_health` says: whether traffic can flow, and where to."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app import __version__
from app.address import Address
from app.metrics.exposition import backends_member
from app.metrics.snapshot import Probe
from app.proxy.service import Service
from app.routing.failover import state_of
from app.situation import situation_json
from app.state.model import BlueGreenState, VersionState
from app.survey import Survey, fleet_of
from app.units import plain

if TYPE_CHECKING:  # most machines belong to no fleet
    from app.fleet.sight import FleetSight, Standing

__all__ = ["health_report"]

_STALE_INTERVALS = 3
"""After so many intervals without a check the leading worker must be gone."""


def health_report(service: Service, survey: Survey) -> dict[str, Any]:
    """The report as JSON will show it; a balancer may send clients here while its `status` is "healthy".

    It may while a version can answer, and while an operator holds the traffic back, whatever becomes of the versions
    meanwhile: a balancer that took the router out would cut off those that wait, or nobody would see the page.
    `situation` is the whole truth.
    """
    state = service.router.state.current()
    active = state.active if state is not None else None
    last = _last_check(service, state, active) if state is not None and active is not None else None
    seen = survey.look((active.name, last) if active is not None and last is not None else None)
    situation = seen.situation
    report: dict[str, Any] = {"name": service.config.name} if service.config.name else {}
    report |= {"status": "healthy" if situation.kind.is_fit else "unhealthy"}
    if not situation.kind.is_fit:
        report["reason"] = plain(situation.text)
    fleet = fleet_of(service.settings)
    if fleet is not None:
        report |= _fleet(*fleet, report.get("reason", ""))
    report["situation"] = situation_json(situation)
    elsewhere = seen.elsewhere.get(active.name, ()) if active is not None else ()
    report["active_port"] = _port(service, active, elsewhere) if active is not None else None
    report["active_version"] = active.name if active is not None else None
    if elsewhere:
        report["active_addresses"] = list(elsewhere)
    report["backend"] = _backend(last) if last is not None else None
    if seen.backends:
        report["versions"] = {name: backends_member(rows) for name, rows in seen.backends.items()}
    report["traffic"] = _traffic(service, state)
    report["state"] = {"fault": service.router.state.fault or None}
    report["metrics"] = {"fault": service.metrics.fault or None}
    report["router_version"] = __version__
    return report


def _fleet(sight: FleetSight | None, standing: Standing, reason: str) -> dict[str, Any]:
    """How the machine stands to its fleet, and whether a balancer should leave it alone for that; `reason` goes first.

    What still comes is served all the same.
    """
    from app.fleet.sight import fleet_json  # most machines belong to none

    found: dict[str, Any] = {"fleet": fleet_json(sight, standing)}
    if standing.keeps_out and not reason:
        found |= {"status": "unhealthy", "reason": standing.keeps_out}
    return found


def _port(service: Service, version: VersionState, elsewhere: Sequence[str]) -> int | None:
    """Where the version listens: its own port, or the one that all its backends have; None where there is no such.

    `elsewhere` is where others run it.
    """
    named = map(Address.parse, elsewhere)
    ports = {one.port for one in named} or {one.address.port for one in service.router.backends_of(version)}
    return version.port if version.port in ports else (ports.pop() or None) if len(ports) == 1 else None


def _last_check(service: Service, state: BlueGreenState, active: VersionState) -> Probe:
    """The last health check of the active version.

    One from before the version was started or switched to says nothing about what serves now, and the leading
    worker may not have come round to it: then the check is made at once.
    """
    oldest = time.time() - _STALE_INTERVALS * service.config.health_check_interval
    since = max(oldest, active.started_at or 0.0, state.switched_at or 0.0)
    probes = service.metrics.probes(active.index)
    return probes[-1] if probes and probes[-1].at >= since else service.probe(active)


def _backend(last: Probe) -> dict[str, Any]:
    """The last health check of the active version."""
    return {
        "ok": last.ok,
        "status": last.status or None,
        "latency_ms": round(last.latency_ms, 1),
        "reason": last.reason or None,
        "checked_at": _wall(last.at),
    }


def _traffic(service: Service, state: BlueGreenState | None) -> dict[str, Any]:
    """Whether requests flow, and what keeps them from it."""
    now = time.time()
    pause = state.pause_at(now) if state is not None else None
    maintenance = state.maintenance_at(now) if state is not None else None
    failover = _failover(service, state)
    modes = {
        "maintenance": maintenance is not None,
        "paused": pause is not None,
        "failover": failover is not None,
        "flowing": state is not None and state.active is not None,
    }
    return {
        "mode": next((mode for mode, is_on in modes.items() if is_on), "none"),
        "pause": None if pause is None else {"since": _wall(pause.since), "until": _wall(pause.until)},
        "maintenance": None
        if maintenance is None
        else {
            "since": _wall(maintenance.since),
            "until": None if maintenance.until is None else _wall(maintenance.until),
            "message": maintenance.message or None,
        },
        "failover": failover,
        "held": service.metrics.held(),
        "worker": _worker(service),
    }


def _failover(service: Service, state: BlueGreenState | None) -> dict[str, Any] | None:
    """Which version is left and which one stands in, while any worker sends requests there; else None."""
    failover = service.metrics.failover()
    if state is None or failover.version is None or failover.version != state.active_version:
        return None  # a switch ends it, and the workers say so within a second
    return {
        "from": failover.version,
        "to": state.standby_version,
        "since": None if failover.since is None else _wall(failover.since),
        "workers": failover.workers,
    }


def _worker(service: Service) -> dict[str, Any]:
    """What the one worker that answers this has to say; each holds, counts and diverts for itself."""
    return {
        "pid": os.getpid(),
        "hold_queue": service.config.hold.hold_queue,
        "retries_left": service.budget.left,
        "circuits": {target.name: state_of(target).value for target in service.router.known_targets},
    }


def _wall(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
