"""Going back further than one version: to what was active after some command in the history."""

from __future__ import annotations

from collections.abc import Sequence

from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.phases import Configured, Operation, phases_of
from app.deploy.plan import Plan
from app.deploy.record.history import Entry
from app.deploy.release.making import spec_of
from app.deploy.release.placing import placed
from app.deploy.release.remaking import as_before, check_repeatable
from app.operator_errors import StateError
from app.state.model import VERSIONS, BlueGreenState, VersionState, started_with
from app.state.release import Release

__all__ = ["last_before", "rollback_to"]


def rollback_to(deployment: Deployment, entries: Sequence[Entry], number: int, state: BlueGreenState) -> Plan | None:
    """The rollback to what was active after the command of that number; None when it is active now.

    A version that still runs it is given the traffic; otherwise the standby is started with it. Raises
    `StateError` when the history does not say enough to start the same once more.
    """
    wanted = _spec_after(entries, number, state)
    by_rank = sorted(state.versions.values(), key=lambda version: version.name != state.active_version)
    running = next((version for version in by_rank if _is_same(version, wanted) and deployment.runs(version)), None)
    if running is not None and running.name == state.active_version:
        deployment.note(f"{running.name} is active and runs just that{_release_text(running)}")
        return None
    release = _again(deployment, wanted, number) if running is None else None
    target = running or wanted
    if release is not None:
        target = placed(deployment, spec_of(wanted, release), release, is_new=False)
    phases = phases_of(
        Operation.ROLLBACK,
        target_runs=deployment.runs(state.version(target.name)),
        replaces=running is None,
        checks=Configured(revert=bool(deployment.deploy.rollback) and state.active_version is not None),
    )
    return Plan(Operation.ROLLBACK, target.name, phases, target, release, outgoing=state.active_version)


def last_before(entries: Sequence[Entry], state: BlueGreenState) -> Entry | None:
    """The latest command after which something else was active than is now, and than what the standby has."""
    now = [version.started_with for version in state.versions.values()]
    led = (entry for entry in reversed(entries) if entry.has_switched and entry.goes_to == entry.target and entry.runs)
    return next((entry for entry in led if dict(entry.runs) not in now), None)


def _spec_after(entries: Sequence[Entry], number: int, state: BlueGreenState) -> VersionState:
    """The standby as it would be with what was active after that command."""
    if not 1 <= number <= len(entries):
        raise StateError(f"the history has no command {number}; it has {len(entries)}", f"{PROGRAM} history")
    entry = entries[number - 1]
    if not entry.has_switched or entry.goes_to not in VERSIONS or entry.goes_to != entry.target or not entry.runs:
        raise StateError(f"command {number} ({entry.command}) did not give a version the traffic", f"{PROGRAM} history")
    return started_with(state.version(state.standby_version), entry.runs)


def _is_same(version: VersionState, wanted: VersionState) -> bool:
    """Whether a version was started with just that; without a record or a name of the release nobody can tell."""
    if version.record is not None or wanted.record is not None:
        return version.record == wanted.record
    return version.started_with == wanted.started_with and version.release is not None


def _again(deployment: Deployment, wanted: VersionState, number: int) -> Release:
    """What was active then, to be started once more."""
    if wanted.record is None:
        check_repeatable(wanted, deployment.app.dir, deployment.app.command, f"command {number}")
    return as_before(deployment, wanted, is_way_back=True)


def _release_text(version: VersionState) -> str:
    return f" (release {version.release})" if version.release else ""
