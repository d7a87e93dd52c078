"""A deploy in pieces, for a fleet: the standby is prepared, and later made active or taken back.

The pieces of `deploy` are the same ones. Between them other machines are waited for.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from app.deploy.deployer import Deployer, Overrides
from app.deploy.phases import Configured, Operation, phases_of
from app.deploy.plan import Plan
from app.deploy.run.hooks import check_commands
from app.state.model import BlueGreenState, started_with

__all__ = ["prepare", "promote", "take_back"]


def prepare(deployer: Deployer, overrides: Overrides) -> str | None:
    """Start a release as the standby, gate it and try it with the smoke commands; gives the id of its record.

    Raises `UnhealthyVersion` when it does not become healthy; it is stopped again then.
    """
    deployment = deployer.deployment

    def decide(state: BlueGreenState) -> Plan:
        name = state.free_version
        version = state.version(name)
        deployment.check_is_run_here(version)
        deployer.check_ours(version)
        deployment.check_spare(state, name)
        plan = deployer.new(Plan(Operation.PREPARE, name, (), overrides.of_something_new(version)), is_demo=False)
        deploy = deployment.deploy
        check_commands(deployment, version, plan.release)
        checks = Configured(before=bool(deploy.before), smoke=bool(deploy.smoke))
        runs = deployment.is_alive(version)
        return plan._replace(phases=phases_of(Operation.PREPARE, target_runs=runs, promotes=False, checks=checks))

    deployer.execution.carry_out(decide)
    state = deployment.store.read()
    return state.version(state.free_version).record


def promote(deployer: Deployer) -> None:
    """Switch to the standby that was prepared; it has stood the smoke commands, and must answer still."""

    def decide(state: BlueGreenState) -> Plan:
        name = state.free_version
        checks = Configured(post=bool(deployer.deployment.deploy.post))
        phases = phases_of(Operation.SWITCH, target_runs=True, checks=checks)
        return Plan(Operation.SWITCH, name, phases, state.version(name), outgoing=state.active_version)

    deployer.execution.carry_out(decide)


def take_back(deployer: Deployer) -> None:
    """Stop what was prepared and has no traffic, and remember of the standby what it was before."""
    state = deployer.deployment.store.read()
    name = state.free_version
    deployer.stop(name)
    prepared = [it for it in deployer.history.entries() if it.operation == Operation.PREPARE and it.target == name]
    if not prepared:
        return
    with ExitStack() as lock:
        deployer.execution.take_lock(lock)
        version = deployer.deployment.store.read().version(name)
        if version.record == prepared[-1].runs.get("record"):  # nothing else has been put in its place
            before = started_with(version, prepared[-1].replaces)
            deployer.deployment.restore_spec(replace(before, status="stopped", pid=None))
