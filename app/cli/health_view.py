"""The router's health as `status` prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.cli.render import heading, mark
from app.cli.router_client import HEALTH_PATH, Answer, RouterClient, RouterUnreachable
from app.deploy.sessions import port_holder

__all__ = ["Health", "health_in", "read_health", "status_text"]

_MODES = {
    "paused": "⏸️  Traffic: PAUSED, new requests wait",
    "maintenance": "🚧 Traffic: MAINTENANCE, clients get 503",
    "failover": "⚠️  Traffic: FAILOVER, the standby stands in for the active version",
}
"""What `traffic.mode` is called where traffic does not simply flow to the active version."""

Health = Mapping[str, Any]
"""The JSON object of `/__router_health`; when none answers, one of the same form with a `hint` as well."""


def read_health(client: RouterClient) -> Health:
    """Ask the router how it is; a router that does not answer, or is none, is an unhealthy one."""
    try:
        return health_in(client.get(HEALTH_PATH), client.port)
    except RouterUnreachable as error:
        return _silent(str(error), error.hint)


def health_in(answer: Answer, port: int) -> Health:
    """What an answer to `HEALTH_PATH` from a port says; that of another program says that no router is there."""
    try:
        health = answer.json()
    except ValueError:
        health = {}
    if health.get("status") in ("healthy", "unhealthy"):
        return health
    holder = port_holder(port) or "another program"
    return _silent(f"port {port} answers, but not as a traffic router: {holder}", f"lsof -i :{port}")


def _silent(reason: str, hint: str) -> Health:
    nothing = dict.fromkeys(("active_port", "active_version", "backend"))
    return {"status": "unhealthy", "reason": reason, **nothing, "hint": hint}


def status_text(health: Health) -> str:
    """The ruled block: the router's lines, then the active version's, then what mends what is wrong."""
    is_healthy = health["status"] == "healthy"
    lines = [heading("TRAFFIC ROUTER STATUS")]
    lines.append(f"{mark(is_healthy)} Router: {'HEALTHY' if is_healthy else 'UNHEALTHY'}")
    if not is_healthy:
        lines.append(f"   Reason: {health.get('reason') or 'not said'}")
    if health.get("active_version"):
        lines.append(f"   Active port: {health.get('active_port')}")
        lines.append(f"   Active version: {health['active_version']}")
        lines += _backend_lines(health)
    if mode := _MODES.get((health.get("traffic") or {}).get("mode", "")):
        lines.append(mode)
    for name, member in (("State file", "state"), ("Metrics", "metrics")):
        fault = (health.get(member) or {}).get("fault")
        if fault and fault != health.get("reason"):
            lines.append(f"⚠️  {name}: {fault}")
    if hint := _hint(health):
        lines.append(f"   Try: {hint}")
    return "\n".join(lines)


def _backend_lines(health: Health) -> list[str]:
    name = f"Backend ({health['active_version']} on {health.get('active_port')})"
    backend = health.get("backend")
    if not backend:
        return [f"⏳ {name}: NOT CHECKED YET"]
    is_good = bool(backend.get("ok"))
    lines = [
        f"{mark(is_good)} {name}: {'HEALTHY' if is_good else 'UNHEALTHY'}",
        f"   Status: {json.dumps(is_good)}",
    ]
    if not is_good:
        lines.append(f"   Reason: {backend.get('reason') or 'the health check failed'}")
    return lines


def _hint(health: Health) -> str:
    """The command that mends what is wrong; empty when nothing is."""
    if (health.get("state") or {}).get("fault") and health.get("active_version"):
        return "python3 bin/blue_green_deploy repair"  # no other command does anything until then
    if health["status"] == "healthy":
        return ""
    if "hint" in health:
        return str(health["hint"])
    if not health.get("active_version"):
        return "python3 bin/blue_green_deploy start blue"
    return f"python3 bin/blue_green_deploy restart {health['active_version']}"
