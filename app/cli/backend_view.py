"""How a router finds the backends of a version that has several, in a line for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.cli.terminal import duration_text, mark
from app.metrics.backend_rows import DRAINED, EJECTED, OK

__all__ = ["backend_text", "listed_lines", "places_text", "state_text"]


def state_text(row: Mapping[str, Any]) -> str:
    """The state in a member of `backends` of the health report: ok, or what else and why."""
    state = str(row.get("state"))
    if state == EJECTED:
        state = f"ejected for {duration_text(float(row.get('ejected_for_s') or 0.0))} more"
    return f"{state} ({row['reason']})" if row.get("reason") else state


def backend_text(row: Mapping[str, Any]) -> str:
    """What such a member says but for its address: ok, 2 in flight."""
    return f"{state_text(row)}, {row['in_flight']} in flight" if row.get("in_flight") else state_text(row)


def listed_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each."""
    return [f"      {_mark(row)} {row['address']}: {backend_text(row)}" for row in rows]


def _mark(row: Mapping[str, Any]) -> str:
    return "⏹️ " if row.get("state") == DRAINED else mark(row.get("state") == OK)


def places_text(addresses: Sequence[str]) -> str:
    """Where a version listens: its address, or how many it has."""
    return addresses[0] if len(addresses) == 1 else f"{len(addresses)} backends"
