"""The commands about some of a version's listeners: more of them or fewer, and which get no requests."""

from __future__ import annotations

from dataclasses import replace

from app.address import MAX_BACKENDS
from app.command_line import PROGRAM
from app.deploy.deployer import Deployer
from app.deploy.drain import OnTimeout
from app.deploy.phases import Operation, phases_of, phases_of_turns
from app.deploy.plan import Plan, in_turns
from app.deploy.run.turns import without
from app.operator_errors import OperatorError, ProcessError, UsageError
from app.state.instances import count_of, recorded
from app.state.model import BlueGreenState, VersionState, put_version

__all__ = ["drain", "scale", "undrain"]


def scale(deployer: Deployer, name: str, count: int, *, on_timeout: OnTimeout = OnTimeout.FAIL) -> None:
    """Give a version that runs as many processes: healthy ones are added, or the last ones removed when they are idle.

    Raises `UnhealthyVersion` when a new one is not well, and all are stopped again that were added; `DrainTimedOut`
    when one that is to go stays busy, and none is removed.
    """
    deployment = deployer.deployment
    if not 1 <= count <= MAX_BACKENDS:
        raise UsageError(f"{count} processes: a version has from 1 to {MAX_BACKENDS}", f"{PROGRAM} --help")

    def decide(state: BlueGreenState) -> Plan | None:
        version = state.version(name)
        deployment.check_is_run_here(version)
        deployer.check_ours(version)
        if not deployment.is_alive(version):
            raise ProcessError(f"{name} is not running", f"{PROGRAM} start {name}   # with [app] instances processes")
        now = count_of(version)
        if count == now:
            deployment.note(f"{name} has {count} process{'es' * (count > 1)} already")
            return None
        plan = Plan(Operation.SCALE, name, (), version, on_timeout=on_timeout)
        if count < now:
            turn = tuple(range(count + 1, now + 1))
            _check_one_serves(deployer, state, version, turn)
            return in_turns(plan, version, (turn,), deployment.has_router)
        plan = deployer.as_before(plan, count=count)
        first = deployment.addresses(version)
        grown = recorded((*first, *(deployment.addresses(plan.spec)[now:])))
        spec = replace(plan.spec, instances=grown, drained=version.drained)
        return plan._replace(phases=phases_of_turns(Operation.SCALE, 1, waits=False, grows=True), spec=spec)

    deployer.execution.carry_out(decide)


def drain(
    deployer: Deployer, name: str, which: str, *, force: bool = False, on_timeout: OnTimeout = OnTimeout.FAIL
) -> None:
    """Give one listener of a version, by its number or its address, no new requests, and wait for those that it has.

    Raises `OperatorError` for the last one of the active version that gets any, without `force`; and `DrainTimedOut`,
    after which it still gets none.
    """
    deployment = deployer.deployment

    def decide(state: BlueGreenState) -> Plan:
        version = state.version(name)
        number = _number(deployer, version, which)
        if not force:
            _check_one_serves(deployer, state, version, (number,))
        address = deployment.addresses(version)[number - 1]
        phases = phases_of(Operation.DRAIN, target_runs=True, drains=True)
        plan = Plan(Operation.DRAIN, name, phases, version, on_timeout=on_timeout, turns=((number,),))
        return plan._replace(change=lambda now: put_version(now, without(now.version(name), [address])))

    deployer.execution.carry_out(decide)


def undrain(deployer: Deployer, name: str, which: str) -> None:
    """Give a listener of a version requests again."""

    def decide(state: BlueGreenState) -> Plan | None:
        version = state.version(name)
        address = str(deployer.deployment.addresses(version)[_number(deployer, version, which) - 1])
        if address not in version.drained:
            deployer.deployment.note(f"{address} of {name} gets requests already")
            return None

        def change(now: BlueGreenState) -> BlueGreenState:
            known = now.version(name)
            return put_version(now, replace(known, drained=tuple(it for it in known.drained if it != address)))

        return Plan(Operation.UNDRAIN, name, phases_of(Operation.UNDRAIN, target_runs=True), version, change=change)

    deployer.execution.carry_out(decide)


def _number(deployer: Deployer, version: VersionState, which: str) -> int:
    """Which listener is meant by its number, or by its address as `status` shows it."""
    addresses = [str(address) for address in deployer.deployment.addresses(version)]
    if which.isascii() and which.isdigit() and 1 <= int(which) <= len(addresses):
        return int(which)
    if which in addresses:
        return addresses.index(which) + 1
    raise UsageError(
        f"{version.name} has no backend {which!r}; it has "
        + ", ".join(f"{number} ({address})" for number, address in enumerate(addresses, start=1)),
        f"{PROGRAM} status",
    )


def _check_one_serves(deployer: Deployer, state: BlueGreenState, version: VersionState, taken: tuple[int, ...]) -> None:
    """Raises `OperatorError` where the active version would have no listener left that gets requests."""
    deployment = deployer.deployment
    if version.name != state.active_version:
        return
    is_others = deployment.is_run_by_others(version)
    for number, (one, address) in enumerate(deployment.each(version), start=1):
        if number not in taken and str(address) not in version.drained and (is_others or deployment.is_alive(one)):
            return
    raise OperatorError(
        f"{version.name} is the active version, and no other of its processes gets requests",
        f"{PROGRAM} undrain {version.name} --backend=NUMBER, or the same command with --force",
    )
