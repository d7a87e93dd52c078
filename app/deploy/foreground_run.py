"""`run`: a version, or one of its processes, as our own child, for systemd, a container or a Procfile."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace

from app.command_line import PROGRAM
from app.deploy.deployer import Deployer, Overrides
from app.deploy.drain import OnTimeout
from app.deploy.events import Ended
from app.deploy.phases import Operation, phases_of, phases_of_turns
from app.deploy.plan import Plan
from app.deploy.processes.foreground import ForegroundProcesses
from app.deploy.processes.reconcile import ending_text
from app.deploy.record.history import Intent
from app.deploy.scaling import drain
from app.operator_errors import OperatorError, ProcessError, UnhealthyVersion, UsageError
from app.state.instances import count_of, name_of, one_of
from app.state.model import BlueGreenState

__all__ = ["run_in_foreground"]


def run_in_foreground(
    deployer: Deployer,
    name: str,
    processes: ForegroundProcesses,
    overrides: Overrides | None = None,
    number: int | None = None,
) -> int:
    """Start a version, or its process of that number, as our own child and stay with it.

    Gives its exit status, 128 + n for signal n. `processes` is the deployment's process table. Raises as
    `Deployer.start` does.
    """
    app = deployer.deployment.app
    processes.forward_signals(app.stop_timeout, app.stop_signal)
    try:
        if number is None:
            deployer.start(name, overrides, Operation.RUN)
        else:
            _start_one(deployer, name, number, overrides or Overrides())
            processes.before_end = lambda: _leave(deployer, name, number)
    except UnhealthyVersion:
        # The active version is left running, and then this process must stay with it.
        if not (processes.was_asked_to_end or processes.has_child):
            raise
    status = processes.wait()
    called = name if number is None else name_of(name, number)
    if processes.was_killed:
        told = f"{called} did not end within {app.stop_timeout:g} s of the signal, so it was killed"
        deployer.deployment.note(told, warns=True)
    _record_end(deployer, name, called, status, processes.was_asked_to_end)
    return status if status >= 0 else 128 - status


def _start_one(deployer: Deployer, name: str, number: int, given: Overrides) -> None:
    """Start one process of a version; the first that comes starts the version, and the others join it."""
    deployment = deployer.deployment

    def decide(state: BlueGreenState) -> Plan:
        version = state.version(name)
        deployment.check_is_run_here(version)
        runs = deployment.is_alive(version)
        plan = deployer.new(Plan(Operation.RUN, name, (), given.of_something_new(version)), is_demo=given.demo)
        most = count_of(version if runs else plan.spec)
        if not 1 <= number <= most:
            raise UsageError(
                f"--instance={number}: {name} has {most} process{'es' if most > 1 else ''}",
                f"[app] instances in traffic_router.toml, and {PROGRAM} stop {name}",
            )
        if deployment.is_alive(one_of(version, number)):
            raise ProcessError(f"{name_of(name, number)} is running already", f"{PROGRAM} status")
        plan = plan._replace(turns=((number,),))
        if runs:
            spec = replace(plan.spec, instances=version.instances, drained=version.drained)
            return plan._replace(phases=phases_of_turns(Operation.RUN, 1, waits=False), spec=spec, before=version)
        others = tuple(text for at, text in enumerate(plan.spec.instances, start=1) if at != number)
        phases = phases_of(Operation.RUN, target_runs=False, promotes=state.active_version is None)
        return plan._replace(phases=phases, spec=replace(plan.spec, drained=others))

    deployer.execution.carry_out(decide)


def _leave(deployer: Deployer, name: str, number: int) -> None:
    """Before one process is told to end: the others, if there are any, get its requests, and it finishes its own."""
    with suppress(OperatorError):
        if count_of(deployer.deployment.store.read().version(name)) > 1:
            drain(deployer, name, str(number), on_timeout=OnTimeout.PROCEED)


def _record_end(deployer: Deployer, name: str, called: str, status: int, was_asked: bool) -> None:
    """Put the end on record, as a `stop` may have done."""
    deployment, execution = deployer.deployment, deployer.execution
    with ExitStack() as lock:
        execution.take_lock(lock)
        state = deployment.settle()
        version = state.version(name)
        if was_asked and version.status == "crashed":
            deployment.put(replace(version, status="stopped", instances=(), drained=()))
        active = state.active_version
        intent = Intent(Operation.RUN, deployer.command, name, active, active, version.release, ())
        outcome = "done" if was_asked or status == 0 else "failed"
        execution.close(deployer.history.begin(intent), outcome, f"{called} ended: {ending_text(status)}")
    deployment.report(Ended(called, status))
