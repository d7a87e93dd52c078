"""Going back further than one version: to what was active after some command in the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.config import AppConfig
from app.deploy.history import Entry
from app.deploy.phases import Operation, plan
from app.deploy.steps import Request, Steps
from app.errors import StateError
from app.state.model import PROGRAM, VERSIONS, BlueGreenState, VersionState

__all__ = ["return_to"]


def return_to(steps: Steps, entries: Sequence[Entry], number: int, state: BlueGreenState) -> Request | None:
    """The rollback to what was active after the command of that number; None when it is active now.

    A version that still runs it is given the traffic; otherwise the standby is started with it. Raises
    `StateError` when the history does not say enough to start the same once more.
    """
    wanted = _described_after(entries, number, state)
    by_rank = sorted(state.versions.values(), key=lambda version: version.name != state.active_version)
    running = next((version for version in by_rank if _is_same(version, wanted) and steps.runs(version)), None)
    if running is not None and running.name == state.active_version:
        steps.note(f"{running.name} is active and runs just that{_release_text(running)}")
        return None
    if running is None:
        _check_repeatable(wanted, number, steps.app)
    target = running or wanted
    phases = plan(
        Operation.ROLLBACK,
        target_runs=steps.runs(state.version(target.name)),
        replaces=running is None,
    )
    return Request(Operation.ROLLBACK, target.name, phases, target, leaving=state.active_version)


def _described_after(entries: Sequence[Entry], number: int, state: BlueGreenState) -> VersionState:
    """The standby as it would be with what was active after that command."""
    if not 1 <= number <= len(entries):
        raise StateError(f"the history has no command {number}; it has {len(entries)}", f"{PROGRAM} history")
    entry = entries[number - 1]
    if not entry.has_switched or entry.goes_to not in VERSIONS or entry.goes_to != entry.target or not entry.runs:
        raise StateError(f"command {number} ({entry.command}) did not give a version the traffic", f"{PROGRAM} history")
    runs, standby = entry.runs, state.version(state.standby_version)
    return replace(standby, release=runs.get("release"), dir=runs.get("dir"), command=runs.get("command"))


def _is_same(version: VersionState, wanted: VersionState) -> bool:
    """Whether a version was started with just that; without a name for the release nobody can tell."""
    same = (version.dir, version.command) == (wanted.dir, wanted.command)
    return same and version.release == wanted.release and version.release is not None


def _check_repeatable(wanted: VersionState, number: int, app: AppConfig) -> None:
    """Refuse to start something else under an old name.

    Where a release has no directory or command of its own, the configured one has whatever was put there last.
    """
    if wanted.dir is None and wanted.command is None and "{release}" not in app.dir + app.command:
        name = f"release {wanted.release}" if wanted.release else "what ran then"
        raise StateError(
            f"{name} cannot be started again: command {number} named no directory of its own, and the "
            f"configured one ({app.dir}) holds what was put there last",
            f"{PROGRAM} deploy --release={wanted.release or 'NAME'} --dir=DIRECTORY",
        )


def _release_text(version: VersionState) -> str:
    return f" (release {version.release})" if version.release else ""
