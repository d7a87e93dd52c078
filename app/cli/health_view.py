"""The router's health as `status` prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.cli.backend_view import listed_lines, places_text
from app.cli.router_client import HEALTH_PATH, Answer, RouterClient, RouterUnreachable
from app.cli.terminal import heading, mark
from app.command_line import PROGRAM
from app.deploy.processes.sessions import port_holder
from app.situation import KINDS, Grade, Situation, situation_json
from app.state.model import VERSIONS

__all__ = ["Health", "health_in", "read_health", "situation_in", "status_text"]

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
    situation = situation_json(Situation("silent", f"The router does not answer: {reason}.", "silent", hint))
    return {"status": "unhealthy", "reason": reason, "situation": situation, **nothing, "hint": hint}


def situation_in(health: Health) -> Situation:
    """The situation that a report tells of."""
    said = health.get("situation") or {}
    if said.get("word") in KINDS:
        return Situation(said["word"], str(said.get("sentence", "")), "", said.get("advice") or "")
    # A router of an earlier release does not name it; it is asked until it is upgraded.
    active, reason = health.get("active_version"), str(health.get("reason") or "not said")
    if (fault := (health.get("state") or {}).get("fault")) and active:
        return Situation("stale", f"State file: {fault}", "", f"{PROGRAM} repair")
    if health["status"] != "healthy":
        advice = f"{PROGRAM} restart {active}" if active else f"{PROGRAM} start {VERSIONS[0]}"
        return Situation("failing" if active else "inactive", reason, "", advice)
    mode = str((health.get("traffic") or {}).get("mode"))
    return Situation(mode, _MODES[mode], "") if mode in _MODES else Situation("serving", "", "")


_MODES = {
    "paused": "New requests wait.",
    "maintenance": "Clients get 503.",
    "failover": "The standby stands in for the active version.",
}
"""What such a router calls `traffic.mode` where traffic does not simply flow to the active version."""


_HELD_SIGNS = {"maintenance": "🚧", "paused": "⏸️ "}


def status_text(health: Health) -> str:
    """The ruled block: the router's lines, then the active version's, then what mends what is wrong."""
    now = situation_in(health)
    flows = now.kind.grade is not Grade.NO_TRAFFIC
    lines = [heading("TRAFFIC ROUTER STATUS", str(health.get("name", "")))]
    if now.word in _HELD_SIGNS:
        lines += [f"{_HELD_SIGNS[now.word]} Router: {now.word.upper()}", f"   {now.text}"]
    else:
        lines.append(f"{mark(flows)} Router: {'HEALTHY' if flows else 'UNHEALTHY'}")
        if not flows:
            lines.append(f"   Reason: {health.get('reason') or now.text}")
    if health.get("active_version"):
        if addresses := health.get("active_addresses"):
            lines.append(f"   Active at: {', '.join(addresses)}")
        else:
            lines.append(f"   Active port: {health.get('active_port')}")
        lines.append(f"   Active version: {health['active_version']}")
        lines += _backend_lines(health)
    if now.kind.grade is Grade.WARNS:
        lines.append(f"⚠️  {now.text}")
    for name, member in (("State file", "state"), ("Metrics", "metrics")):
        fault = (health.get(member) or {}).get("fault")
        if fault and fault not in now.text:
            lines.append(f"⚠️  {name}: {fault}")
    if now.advice:
        lines.append(f"   Try: {now.advice}")
    return "\n".join(lines)


def _backend_lines(health: Health) -> list[str]:
    active, addresses = health["active_version"], health.get("active_addresses")
    place = places_text(addresses) if addresses else health.get("active_port")
    name = f"Backend ({active} on {place})"
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
    several = ((health.get("versions") or {}).get(active) or {}).get("backends", ())
    return [*lines, *listed_lines(several)]
