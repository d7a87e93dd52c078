"""`run`: a version as our own child, with which this process stays, for systemd, a container or a Procfile."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from app.deploy.deployer import Deployer, Overrides
from app.deploy.events import Ended
from app.deploy.phases import Operation
from app.deploy.processes.foreground import ForegroundProcesses
from app.deploy.processes.reconcile import ending_text
from app.deploy.record.history import Intent
from app.operator_errors import UnhealthyVersion

__all__ = ["run_in_foreground"]


def run_in_foreground(
    deployer: Deployer, name: str, processes: ForegroundProcesses, overrides: Overrides | None = None
) -> int:
    """Start a version as our own child and stay with it; gives its exit status, 128 + n for signal n.

    `processes` is the deployment's process table. Raises as `Deployer.start` does.
    """
    app = deployer.deployment.app
    processes.forward_signals(app.stop_timeout, app.stop_signal)
    try:
        deployer.start(name, overrides, Operation.RUN)
    except UnhealthyVersion:
        # The active version is left running, and then this process must stay with it.
        if not (processes.was_asked_to_end or processes.has_child):
            raise
    status = processes.wait()
    if processes.was_killed:
        told = f"{name} did not end within {app.stop_timeout:g} s of the signal, so it was killed"
        deployer.deployment.note(told, warns=True)
    _record_end(deployer, name, status, processes.was_asked_to_end)
    return status if status >= 0 else 128 - status


def _record_end(deployer: Deployer, name: str, status: int, was_asked: bool) -> None:
    """Put the end on record, as a `stop` may have done."""
    deployment, execution = deployer.deployment, deployer.execution
    with ExitStack() as lock:
        execution.take_lock(lock)
        state = deployment.settle()
        version = state.version(name)
        if was_asked and version.status == "crashed":
            deployment.put(replace(version, status="stopped"))
        active = state.active_version
        intent = Intent(Operation.RUN, deployer.command, name, active, active, version.release, ())
        outcome = "done" if was_asked or status == 0 else "failed"
        execution.close(deployer.history.begin(intent), outcome, f"{name} ended: {ending_text(status)}")
    deployment.report(Ended(name, status))
