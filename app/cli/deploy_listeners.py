"""The processes of a version that has several, or whose process listens on a socket, as `status` shows them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from app.address import Address
from app.cli.backend_view import backend_text
from app.cli.terminal import mark, ms_text
from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.processes.process_table import Found
from app.deploy.processes.reconcile import ending_text, restarts_text
from app.metrics.backend_rows import BackendRow
from app.state.model import VersionState
from app.upstream.probe import ProbeResult

__all__ = ["Listener", "health_text", "listener_json", "listener_lines", "listeners_of"]


class Listener(NamedTuple):
    """One of them."""

    number: int
    name: str
    address: Address
    is_drained: bool
    found: Found
    log: Path


def listeners_of(deployment: Deployment, version: VersionState) -> list[Listener]:
    """Those of a version, in order; none of one that is a single process on its port, or run by others."""
    if deployment.is_run_by_others(version) or not version.instances:
        return []
    find, log_path = deployment.processes.find, deployment.processes.log_path
    return [
        Listener(number, one.name, address, str(address) in version.drained, find(one), log_path(one.name))
        for number, (one, address) in enumerate(deployment.each(version), start=1)
    ]


def listener_lines(
    version: VersionState,
    listeners: Sequence[Listener],
    checked: Mapping[Address, ProbeResult],
    rows: Mapping[str, BackendRow],
) -> list[str]:
    """A line for each: whether it is well, where it is, and what is to be known of it; `rows` are the router's."""
    lines = [f"      {_line(one, checked.get(one.address), rows.get(str(one.address)))}" for one in listeners]
    # What is run in the foreground is for its manager to start again.
    is_ours = not any(one.found.in_foreground for one in listeners)
    if version.status == "running" and is_ours and not all(one.found.alive for one in listeners):
        lines.append(f"      {PROGRAM} restart {version.name}   # replaces them one after the other")
    return lines


def _line(one: Listener, health: ProbeResult | None, row: BackendRow | None) -> str:
    found = one.found
    if found.alive:
        sign = "▶️ " if health is None else mark(health.ok and not (row is not None and row.is_out))
        told = [*([health_text(health)] if health is not None else []), f"pid {found.pid}"]
    else:
        sign, told = "💥", [f"ended ({ending_text(found.exit_status)})"]
    if row is not None:
        told.append(backend_text(row._asdict()))
    elif one.is_drained:
        told.append("drained")
    if restarts := restarts_text(found.restarts, time.time()):
        told.append(f"restarts: {restarts}")
    return f"{sign} {one.number}  {one.address}: {'; '.join(told)}"


def listener_json(one: Listener, health: ProbeResult | None, row: BackendRow | None) -> dict[str, object]:
    """One process for programs."""
    found = one.found
    return {
        "number": one.number,
        "name": one.name,
        "address": str(one.address),
        "alive": found.alive,
        "pid": found.pid,
        "exit_status": found.exit_status,
        "restarts": found.restarts._asdict() if found.restarts is not None else None,
        "ok": health.ok if health is not None else None,
        "drained": one.is_drained,
        "in_flight": row.in_flight if row is not None else None,
        "log": str(one.log),
    }


def health_text(result: ProbeResult) -> str:
    """How a health check went."""
    if result.reason:
        return result.reason
    leads = f" to {result.leads_to}" if result.leads_to else ""
    return f"{result.status}{leads} in {ms_text(result.latency_ms)}"
