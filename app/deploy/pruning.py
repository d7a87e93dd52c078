"""Removing old releases: which ones may go, and how they go.

A release is renamed first, under the deployment's lock, to a hidden name that is none of a release, and deleted after
that: what a killed command leaves is never half a release that looks whole, and the next one deletes the rest.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from app.deploy.deployment import Deployment
from app.deploy.record.history import History
from app.deploy.release.current_link import look
from app.deploy.release.inventory import inventory
from app.deploy.release.release_dirs import ReleaseDirs
from app.deploy.run.execution import Execution
from app.operator_errors import ConfigError, StateError
from app.state.model import BlueGreenState

__all__ = ["Pruned", "prune"]

_ASIDE: Final = ".bg-pruned-"
"""Begins the name of what is being deleted; a release's cannot begin with a dot."""

_OCTAL: Final = re.compile(r"\\(\d{3})")
"""How proc(5) writes a space in a path."""


class Pruned(NamedTuple):
    """What became of each directory: removed, kept and why, or what kept it from being removed and how."""

    removed: Sequence[str]
    kept: Mapping[str, str]
    faults: Mapping[str, str]


def prune(
    deployment: Deployment, history: History, execution: Execution, keep: int, *, dry_run: bool = False
) -> Pruned:
    """Remove all but the `keep` releases that were started last and what is in use; raises `ConfigError` without dir.

    With `dry_run`, nothing is changed.
    """
    dirs = ReleaseDirs(deployment.release.dir)
    if not dirs.pattern:
        raise ConfigError("[release] dir is not set, so nobody knows what a release is", "traffic_router.toml")
    if dry_run:
        doomed, kept = _chosen(deployment, dirs, history, deployment.observed(deployment.store.read_or_new()), keep)
        return Pruned(doomed, kept, {})
    kept, faults, aside = dict[str, str](), dict[str, str](), dict[str, str]()

    def decide(state: BlueGreenState) -> None:
        doomed, reasons = _chosen(deployment, dirs, history, state, keep)
        kept.update(reasons)
        for directory in doomed:
            try:
                aside[_set_aside(directory)] = directory
            except OSError as error:
                faults[directory] = str(error.strerror)

    execution.carry_out(decide)
    removed = list(aside.values())
    for left in _left_behind(dirs):
        for path, fault in _delete(left):
            faults[path] = fault
    return Pruned(removed, kept, faults)


# --- which ones -------------------------------------------------------------------------------------------


def _chosen(
    deployment: Deployment, dirs: ReleaseDirs, history: History, state: BlueGreenState, keep: int
) -> tuple[list[str], dict[str, str]]:
    """The directories to remove, the newest first, and why each other one is kept."""
    listed = inventory(deployment, history.entries(), state)
    there = [str(directory) for directory in dirs.found()]
    by_age = [one.directory for one in listed if one.started_at is not None and one.directory in there]
    newest = list(dict.fromkeys(by_age))
    reasons = {
        **dict.fromkeys(newest[:keep], f"it is one of the {keep} that were started last"),
        **dict.fromkeys(set(there) - set(newest), "it was never started from here"),
        **{directory: "something is mounted in it" for directory in there if _has_mount(directory)},
        **_at_work(dirs),
        **_in_use(deployment, dirs, state),
    }
    return [it for it in newest if it not in reasons], {it: reasons[it] for it in sorted(there) if it in reasons}


def _in_use(deployment: Deployment, dirs: ReleaseDirs, state: BlueGreenState) -> dict[str, str]:
    """What the versions need, whether they run or would be started again, and where the link leads."""
    used = dict[str, str]()
    link = look(deployment, state)
    if link is not None and link.leads_to and (directory := dirs.around(link.leads_to)):
        used[str(directory)] = f"{link.path} leads to it"
    for version in state.versions.values():
        paths = [version.directory] if version.directory else []
        if version.record is not None:
            with suppress(StateError):  # the directory is in the state, too
                record = deployment.releases.read(version.record)
                paths += [record.program, *record.place]
        for path in paths:
            if directory := dirs.around(os.path.normpath(path)):
                used[str(directory)] = f"{version.name} was started with it"
    return used


def _at_work(dirs: ReleaseDirs) -> dict[str, str]:
    """The releases in which a process runs, be it a worker or a cron job that nobody has told us about."""
    found = dict[str, str]()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        for what in ("cwd", "exe"):
            with suppress(OSError):  # it has ended, or is another user's
                if directory := dirs.around(os.readlink(f"/proc/{pid}/{what}")):
                    found[str(directory)] = f"process {pid} runs there"
    return found


def _has_mount(directory: str) -> bool:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        points = [_OCTAL.sub(lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in lines]
    return any(point == directory or point.startswith(f"{directory}/") for point in points)


# --- how they go ------------------------------------------------------------------------------------------


def _set_aside(directory: str) -> str:
    folder, name = os.path.split(directory)
    aside = os.path.join(folder, f"{_ASIDE}{os.urandom(3).hex()}-{name}")
    os.rename(directory, aside)
    return aside


def _left_behind(dirs: ReleaseDirs) -> list[Path]:
    """All that was set aside, be it by a command that was killed."""
    return [dirs.folder / name for name in dirs.entries() if name.startswith(_ASIDE)]


def _delete(folder: Path) -> Iterator[tuple[str, str]]:
    """Delete all that can be, links and not what they lead to; gives what could not be deleted, and why."""
    for root, folders, files, descriptor in os.fwalk(folder, topdown=False):
        for name in [*files, *folders]:
            try:
                if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    os.rmdir(name, dir_fd=descriptor)
                else:
                    os.unlink(name, dir_fd=descriptor)
            except OSError as error:
                yield from _told(os.path.join(root, name), error)
    try:
        os.rmdir(folder)
    except OSError as error:
        yield from _told(str(folder), error)


def _told(path: str, error: OSError) -> Iterator[tuple[str, str]]:
    """The fault, but for what follows from another one, or from another prune that was faster."""
    if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
        yield path, str(error.strerror)
