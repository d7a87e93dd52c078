"""Which releases there are and have been: from the records, the history and the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.deploy.deployment import Deployment
from app.deploy.phases import Operation
from app.deploy.record.history import Entry
from app.deploy.release.current_link import look
from app.deploy.release.release_dirs import ReleaseDirs
from app.state.model import BlueGreenState, VersionState

__all__ = ["Listed", "inventory", "own_bytes"]

_STARTS: Final = frozenset({Operation.DEPLOY, Operation.START, Operation.RUN})


@dataclass(frozen=True)
class Listed:
    """One release, and what is known about it.

    `directory` is that of the whole release, of which it may run in a part; `has_own_dir`, that it is one by `[release]
    dir`. `started_at` is when it was started last as something new, wall time; None for one that lies there and never
    was. `command` is the number of the last command in the history after which it was active. `roles` are "active",
    "rollback target", "standby" and "current", as far as they hold.
    """

    name: str | None
    directory: str
    has_own_dir: bool
    started_at: float | None = None
    revision: str | None = None
    command: int | None = None
    roles: tuple[str, ...] = ()

    @property
    def is_present(self) -> bool:
        return os.path.isdir(self.directory)


def inventory(deployment: Deployment, entries: Sequence[Entry], state: BlueGreenState) -> list[Listed]:
    """Every release that lies in its directory or was started from here, the newest first; nothing is changed."""
    dirs = ReleaseDirs(deployment.release.dir)
    known = dict[tuple[str | None, str], Listed]()

    def at(name: str | None, directory: str) -> Listed:
        own = dirs.around(directory)
        return known.setdefault((name, str(own or directory)), Listed(name, str(own or directory), own is not None))

    def put(one: Listed) -> None:
        known[one.name, one.directory] = one

    for path, name in dirs.found().items():
        at(name, str(path))
    for entry in entries:
        if directory := entry.runs.get("directory"):
            one = at(entry.runs.get("release"), directory)
            if entry.operation in _STARTS:
                one = replace(one, started_at=entry.at, revision=entry.runs.get("revision"))
            put(replace(one, command=entry.number) if _gave_traffic(entry) else one)
    for record in deployment.releases.all():
        one = at(record.name, record.directory)
        put(replace(one, started_at=max(record.made_at, one.started_at or 0.0), revision=record.revision))
    for version in state.versions.values():
        if version.directory:
            one = at(version.release, version.directory)
            put(replace(one, roles=(*one.roles, _role(state, version))))
    _without_double_names(known)
    link = look(deployment, state)
    found = [
        replace(it, roles=(*it.roles, "current")) if link and link.leads_to == it.directory else it
        for it in known.values()
    ]
    return sorted(found, key=lambda it: it.started_at or time.time(), reverse=True)


def _without_double_names(known: dict[tuple[str | None, str], Listed]) -> None:
    """Leave out the directory as such where it was started under another name than its own."""
    started = {one.directory for one in known.values() if one.started_at is not None}
    for key, one in list(known.items()):
        if one.started_at is None and not one.roles and one.directory in started:
            del known[key]


def _gave_traffic(entry: Entry) -> bool:
    return entry.has_switched and entry.goes_to == entry.target


def _role(state: BlueGreenState, version: VersionState) -> str:
    if version.name == state.active_version:
        return "active"
    return "rollback target" if version.name == state.previous_version else "standby"


def own_bytes(directory: str, deadline: float) -> tuple[int, bool]:
    """What a directory alone takes on the disk, in bytes, and whether all of it was seen before `deadline` (monotonic).

    Files that are linked from elsewhere, too, are not counted: removing the directory gives nothing back. Links are
    not followed, and what is mounted there is not looked into.
    """
    total, shared = 0, dict[int, tuple[int, int]]()
    try:
        device = os.lstat(directory).st_dev
    except OSError:
        return 0, False
    folders = [directory]
    while folders:
        for entry in _entries(folders.pop()):
            if time.monotonic() > deadline:
                return total, False
            about, is_folder = entry.stat(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
            if is_folder and about.st_dev != device:
                continue
            if is_folder:
                folders.append(entry.path)
            elif about.st_nlink > 1:
                seen = shared.get(about.st_ino, (0, 0))[0]
                shared[about.st_ino] = (seen + 1, about.st_nlink)
                if seen + 1 < about.st_nlink:
                    continue
            total += about.st_blocks * _BLOCK
    return total, True


_BLOCK: Final = 512
"""The unit of st_blocks, whatever the file system's own (stat(2))."""


def _entries(folder: str) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
