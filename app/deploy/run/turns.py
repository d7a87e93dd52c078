"""Some of a version's processes at a time, while the others serve: replaced, added or removed.

A turn begins by taking requests from its processes, in the state file, and ends when those that are there in the end
have them again. In between other commands may come: the wait for requests holds no lock.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import Final

from app.address import Address
from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.events import Stopped
from app.deploy.plan_run import PlanRun
from app.deploy.run.gating import ask
from app.deploy.run.launching import get_place, launch_one
from app.operator_errors import ProcessError
from app.state.instances import count_of, one_of, recorded
from app.state.model import VersionState
from app.state.process_birth import birth
from app.state.release import Release

__all__ = ["add", "last_drained", "put_back", "remove", "replace_some", "rolling", "spare", "without"]

_USED_WAIT_S: Final = 10.0
"""Twice the usual interval of the router's health checks: one that failed while it was down holds until the next."""

_USED_POLL_S: Final = 0.05


def rolling(deployment: Deployment, version: VersionState) -> tuple[tuple[int, ...], ...]:
    """The turns in which the processes of a version are replaced: those first that have no requests."""
    serves = {
        number: deployment.is_alive(one) and str(address) not in version.drained
        for number, (one, address) in enumerate(deployment.each(version), start=1)
    }
    return tuple((number,) for number in sorted(serves, key=lambda number: (serves[number], number)))


def spare(run: PlanRun) -> None:
    """Let the processes of this turn get no new requests."""
    deployment = run.deployment
    version = _unchanged(run)
    taken = [address for number, address in enumerate(deployment.addresses(version), start=1) if number in run.turn]
    deployment.put(without(version, taken))


def replace_some(run: PlanRun) -> None:
    """Stop the processes of this turn and start others in their places, which get requests once they are healthy."""
    release = _release(run)
    for number in run.turn:
        version = _unchanged(run)
        _stop(run, version, number)
        get_place(run, version, number)
        try:
            pid = launch_one(run, replace(version, release=run.plan.spec.release), number, release)
            ask(run, version, number, is_started=True)
        except BaseException:
            _stop(run, version, number)  # it is known not to be well, or not known to be: the others serve
            raise
        deployment = run.deployment
        deployment.processes.begin_restarts(one_of(version, number))
        if number == 1:
            version = replace(version, pid=pid, pid_birth=birth(pid))
        address = deployment.addresses(version)[number - 1]
        deployment.put(_with(version, address))
        _wait_until_used(deployment, version, address)
    run.turns_done += 1
    if not run.turn:
        known = run.deployment.store.read().version(run.plan.target)
        known = replace(known, record=release.id, revision=release.revision, stop_signal=release.stop_signal)
        run.deployment.put(replace(known, started_at=run.deployment.now(), exit_status=None))


def add(run: PlanRun) -> None:
    """Start further processes, and give them requests when all of them are healthy."""
    deployment, grown, release = run.deployment, run.plan.spec, _release(run)
    version = deployment.store.read().version(grown.name)
    numbers = range(count_of(version) + 1, count_of(grown) + 1)
    try:
        for number in numbers:
            get_place(run, grown, number)
            launch_one(run, grown, number, release)
        for number in numbers:
            ask(run, grown, number, is_started=True)
    except BaseException:
        for number in numbers:
            _stop(run, grown, number)
        raise
    deployment.processes.begin_restarts(grown)
    deployment.put(replace(version, instances=grown.instances))


def remove(run: PlanRun) -> None:
    """Stop the processes of this turn, and forget them."""
    deployment = run.deployment
    version = _unchanged(run)
    kept = deployment.addresses(version)[: min(run.turn) - 1]
    for number in run.turn:
        _stop(run, version, number)
    drained = tuple(text for text in version.drained if text in map(str, kept))
    deployment.put(replace(version, instances=recorded(kept), drained=drained))


def put_back(deployment: Deployment, name: str, turn: Container[int] | None = None) -> None:
    """Give requests again to those processes of a turn that live, of all without one; what is not listed is ended."""
    version = deployment.store.read().version(name)
    _end_strays(deployment, version)
    back = [
        str(address)
        for number, (one, address) in enumerate(deployment.each(version), start=1)
        if (turn is None or number in turn) and deployment.is_alive(one)
    ]
    drained = tuple(text for text in version.drained if text not in back)
    if drained != version.drained:
        deployment.put(replace(version, drained=drained))


def last_drained(version: VersionState) -> tuple[int, ...]:
    """The numbers of the last processes that get no requests: those that a `scale` was about to remove."""
    drained = [text in version.drained for text in version.instances]
    serving = max((number for number, is_drained in enumerate(drained, start=1) if not is_drained), default=0)
    return tuple(range(serving + 1, len(drained) + 1))


def _end_strays(deployment: Deployment, version: VersionState) -> None:
    """End the processes of a version that the state does not list."""
    for stray in deployment.processes.strays(version):
        deployment.note(f"{stray.name} was left behind by a command that broke off, and is ended", warns=True)
        deployment.processes.stop(stray, deployment.app.stop_timeout, version.stop_signal or deployment.app.stop_signal)


def without(version: VersionState, taken: list[Address]) -> VersionState:
    """The version with these of its addresses getting no new requests."""
    more = (str(address) for address in taken if str(address) not in version.drained)
    return replace(version, drained=(*version.drained, *more))


def _with(version: VersionState, address: Address) -> VersionState:
    return replace(version, drained=tuple(text for text in version.drained if text != str(address)))


def _wait_until_used(deployment: Deployment, version: VersionState, address: Address) -> None:
    """Wait until the workers use it again, before the next one is taken from them."""
    ends_at = deployment.clock() + _USED_WAIT_S
    while deployment.traffic is not None and not deployment.traffic.uses(version.name, address):
        if deployment.clock() >= ends_at:
            return
        deployment.sleep(_USED_POLL_S)


def _release(run: PlanRun) -> Release:
    if run.plan.release is None:
        raise ProcessError(f"nothing says what {run.plan.target} is to be started with", f"{PROGRAM} status")
    return run.plan.release


def _unchanged(run: PlanRun) -> VersionState:
    """The target as it is recorded; raises `ProcessError` where another command has changed it meanwhile."""
    version = run.deployment.store.read().version(run.plan.target)
    now = (version.instances, version.record, version.status)
    if now != (run.before.instances, run.before.record, "running"):
        raise ProcessError(
            f"another command has changed {version.name} in the meantime, and this one has ended", f"{PROGRAM} status"
        )
    return version


def _stop(run: PlanRun, version: VersionState, number: int) -> None:
    """End one process, in the version's own way."""
    deployment, one = run.deployment, one_of(version, number)
    found = deployment.processes.find(one)
    signal = version.stop_signal or deployment.app.stop_signal
    was_killed = deployment.processes.stop(one, deployment.app.stop_timeout, signal)
    if found.alive and found.pid is not None:
        deployment.report(Stopped(one.name, found.pid, deployment.processes.find(one).exit_status, was_killed))
