"""Telling a rollout under way what to do: the order stands in the state file, where its conductor reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from app.command_line import PROGRAM
from app.deploy.deployer import Deployer
from app.deploy.phases import Operation, phases_of
from app.deploy.plan import Plan
from app.operator_errors import OperatorError
from app.state.model import BlueGreenState, with_split, without_split
from app.state.split import Split

__all__ = ["abort", "order"]


def order(deployer: Deployer, word: str) -> None:
    """Tell whoever conducts the rollout to promote or to hold; "" to go on by itself. Raises `OperatorError`."""

    def change(state: BlueGreenState) -> BlueGreenState:
        return with_split(state, replace(_split_of(state), order=word))

    _carry_out(deployer, change)


def abort(deployer: Deployer) -> None:
    """Give all requests to the active version; whoever conducts the rollout finds that, and stops the canary."""

    def change(state: BlueGreenState) -> BlueGreenState:
        _split_of(state)
        return without_split(state, deployer.deployment.now())

    _carry_out(deployer, change)


def _carry_out(deployer: Deployer, change: Callable[[BlueGreenState], BlueGreenState]) -> None:
    def decide(state: BlueGreenState) -> Plan:
        split = _split_of(state)
        phases = phases_of(Operation.ORDER, target_runs=True)
        return Plan(Operation.ORDER, split.canary, phases, state.version(split.canary), change=change)

    deployer.execution.carry_out(decide)


def _split_of(state: BlueGreenState) -> Split:
    if state.split is None:
        raise OperatorError("no version has a share of the requests", f"{PROGRAM} canary status")
    return state.split
