"""What is recorded about a version, corrected by what its process is found to do; a pure decision."""

from __future__ import annotations

import signal
from dataclasses import replace

from app.deploy.processes import Found
from app.state.model import VersionState

__all__ = ["as_found", "ending_text"]


def as_found(version: VersionState, found: Found, *, is_settled: bool) -> VersionState:
    """The version as it really is.

    `is_settled`: no command is at work on it, so that one which is recorded as starting or stopping is not:
    the command that began it was killed.
    """
    if found.alive:
        in_between = version.status in ("starting", "stopping")
        status = version.status if in_between and not is_settled else "running"
        return replace(version, pid=found.pid, status=status, exit_status=None)
    if version.status == "starting" and found.pid is None:
        return replace(version, status="stopped") if is_settled else version
    if version.status in ("starting", "running"):
        # Recorded without a pid: somebody wrote the file by hand for a version that is not our child.
        if found.pid is None:
            return version
        return replace(version, pid=found.pid, status="crashed", exit_status=found.exit_status)
    if version.status == "stopping":
        return replace(version, status="stopped", exit_status=found.exit_status)
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
