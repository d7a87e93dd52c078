"""What is recorded about a version, corrected by what its process is found to do; a pure decision."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from app.deploy.processes.process_table import Found
from app.state.model import BlueGreenState, VersionState
from app.units import ago_text, duration_text, plain

if TYPE_CHECKING:
    from app.facts import Restarts

__all__ = ["as_found", "ending_text", "ends_of_crashed", "restarts_of", "restarts_text"]


def as_found(version: VersionState, found: Found, *, is_settled: bool) -> VersionState:
    """The version as it really is.

    `is_settled`: no command is at work on it, so that one which is recorded as starting or stopping is not:
    the command that began it was killed.
    """
    if found.restarts is not None and found.restarts.times and found.number == 1:
        version = replace(version, started_at=found.restarts.started_at)
    if found.alive:
        in_between = version.status in ("starting", "stopping")
        status = version.status if in_between and not is_settled else "running"
        pid = found.pid if found.number == 1 else version.pid  # that of the first one, though it has ended
        return replace(version, pid=pid, status=status, exit_status=None)
    if version.status == "starting" and found.pid is None:
        return replace(version, status="stopped", instances=(), drained=()) if is_settled else version
    if version.status in ("starting", "running"):
        # Recorded without a pid: somebody wrote the file by hand for a version that is not our child.
        if found.pid is None:
            return version
        return replace(version, pid=found.pid, status="crashed", exit_status=found.exit_status)
    if version.status == "stopping":
        return replace(version, status="stopped", exit_status=found.exit_status, instances=(), drained=())
    return version


def ending_text(exit_status: int | None) -> str:
    """How a process ended, in words."""
    if exit_status is None:
        return "exit status unknown"
    if exit_status >= 0:
        return f"exit status {exit_status}"
    try:
        return f"killed by {signal.Signals(-exit_status).name}"
    except ValueError:  # the real-time signals have no names
        return f"killed by signal {-exit_status}"


def ends_of_crashed(state: BlueGreenState | None, found: Mapping[str, Found]) -> dict[str, float]:
    """When the processes of crashed versions ended, as their supervisors noted it."""
    crashed = [it.name for it in state.versions.values() if it.status == "crashed"] if state is not None else []
    return {name: at for name in crashed if (at := found[name].ended_at) is not None}


def restarts_of(found: Mapping[str, Found]) -> dict[str, Restarts]:
    """How those versions fare that are started again when they fail."""
    return {name: it.restarts for name, it in found.items() if it.restarts is not None}


def restarts_text(restarts: Restarts | None, at: float) -> str:
    """What is to be said at wall time `at` of a version's restarts; "" where there were none."""
    if restarts is None or not (restarts.times or restarts.next_at):
        return ""
    times = f"{restarts.times} {'time' if restarts.times == 1 else 'times'}"
    ended = ending_text(restarts.last_exit_status)
    ago = f" {ago_text(at - restarts.last_ended_at)}" if restarts.last_ended_at else ""
    if restarts.next_at is not None:
        left_s = max(0.0, restarts.next_at - at)
        so_far = f", after {times}" if restarts.times else ""
        return plain(f"in {duration_text(left_s)}{so_far}") if left_s >= 1 else f"at once{so_far}"
    if restarts.gave_up:
        return f"given up after {times}"
    return plain(f"{times}, the last one{ago} ({ended})")
