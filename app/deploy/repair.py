"""A state file that is broken or gone, and what can be put in its place.

That is the last good state, brought up to what the history tells of later commands and to what the processes are found
to do. Where there is no last good state, it begins with what can still be read in the broken file.
"""

from __future__ import annotations

import difflib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from app.address import MAX_BACKENDS, Address, is_port
from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.phases import Operation
from app.deploy.record.history import Entry, History
from app.operator_errors import OperatorError, StateError, StateMissing
from app.state.codec import encode
from app.state.instances import one_of, recorded
from app.state.last_good import MAX_STATE_BYTES
from app.state.model import VERSIONS, BlueGreenState, put_version, started_with, versions_on, with_version
from app.state.store import StateStore, last_good_path, repair_command

__all__ = ["Repair", "find_repair", "restore"]


class Repair(NamedTuple):
    """What is wrong, and the state that would be put there; `sources` says in words where that is from.

    `broken` holds the file's bytes, None when it is gone.
    """

    fault: str
    broken: bytes | None
    state: BlueGreenState
    sources: tuple[str, ...]

    def difference(self) -> list[str]:
        """The lines that differ, as `diff -u` has them, without the secret of the previews."""
        if self.broken is None:
            return []
        before = self.broken[:MAX_STATE_BYTES].decode("utf-8", "backslashreplace")
        lines = difflib.unified_diff(
            before.splitlines(), encode(self.state).decode().splitlines(), "broken", "repaired", n=1, lineterm=""
        )
        return [_SECRET.sub(r"\1…", line) for line in lines]


_SECRET: Final = re.compile(r'("preview_key":\s*")[^"]+')


def find_repair(deployment: Deployment, history: History) -> Repair:
    """What a repair would do now; raises `OperatorError` where there is nothing to repair, or nothing to do it with."""
    fault, broken = _broken(deployment.store)
    entries = [entry for entry in history.entries() if entry.operation in set(Operation)]
    last = deployment.store.last_good()
    if last is not None:
        state, sources = last, [f"{last_good_path(deployment.store.path)}, {_age_text(deployment)} old"]
        later = _later_than(entries, last, _kept_at(deployment.store))
    else:
        state, sources = _read_in(broken, deployment.store), []
        later = entries
        if broken is not None:
            sources.append("what can still be read in the file")
    state, told = _brought_up(state, later)
    if last is None:
        state = _on_ports_in_use(state, deployment)
    if told:
        sources.append(f"the history: {', '.join(f'`{entry.command}`' for entry in told)}")
    found = deployment.observed(_with_all_processes(state, deployment), is_settled=True)
    if found != state:
        sources.append("the processes")
    if broken is None and not sources:
        raise StateMissing(f"{fault}, and nothing is known that it could be made of", f"{PROGRAM} start blue")
    return Repair(fault, broken, found, tuple(sources))


def _broken(store: StateStore) -> tuple[str, bytes | None]:
    """What is wrong with the state file, and its bytes; raises `OperatorError` when it is fine or cannot be read."""
    try:
        store.read()
    except StateMissing as error:
        return str(error), None
    except StateError as error:
        if error.hint != repair_command():
            raise
        return str(error), store.raw()
    raise OperatorError(f"state file {store.path} is fine, so there is nothing to repair", f"{PROGRAM} status")


def _later_than(entries: Sequence[Entry], state: BlueGreenState, kept_at: float) -> Sequence[Entry]:
    """The commands since that state: after the one that it names as its last change, else after it was kept."""
    known = [index for index, entry in enumerate(entries) if entry.id == state.changed_by]
    return entries[known[0] + 1 :] if known else [entry for entry in entries if entry.at > kept_at]


def _brought_up(state: BlueGreenState, entries: Sequence[Entry]) -> tuple[BlueGreenState, list[Entry]]:
    """The state after these commands, as far as the history tells what they did, and those that changed it."""
    told = []
    for entry in entries:
        before = state
        if entry.outcome == "done" and entry.operation in _STARTS and entry.target in VERSIONS and entry.runs:
            state = put_version(state, started_with(state.version(entry.target), entry.runs))
        if entry.has_switched and entry.goes_to in VERSIONS and entry.goes_to != state.active_version:
            state = replace(state, active_version=entry.goes_to, previous_version=state.active_version)
            state = replace(state, switched_at=entry.at)
        if replace(state, serial=before.serial) != before:
            told.append(entry)
    return state, told


_STARTS: Final = frozenset({Operation.START, Operation.RUN, Operation.RESTART, Operation.ROLLBACK, Operation.DEPLOY})


def _read_in(broken: bytes | None, store: StateStore) -> BlueGreenState:
    """A state with what the broken file still says about the active version and the ports; else that of a beginning."""
    state = BlueGreenState(versions=versions_on(store.ports))
    text = (broken or b"").decode("utf-8", "replace")
    if active := re.search(r'"active_version"\s*:\s*"(blue|green)"', text):
        state = replace(state, active_version=active[1])
    for name in VERSIONS:
        port = re.search(rf'"{name}"\s*:\s*{{[^{{}}]*?"port"\s*:\s*(\d{{1,5}})\b', text)
        if port and 0 < int(port[1]) <= 65535:
            state = with_version(state, name, port=int(port[1]))
    ports = {version.port for version in state.versions.values()}
    return state if len(ports) == len(VERSIONS) else replace(state, versions=versions_on(store.ports))


def _on_ports_in_use(state: BlueGreenState, deployment: Deployment) -> BlueGreenState:
    """The state with the port of each version that runs as its process was told it."""
    for name in VERSIONS:
        port = _told(deployment.processes.find(state.version(name)).pid, "PORT")
        if is_port(port) and int(port) not in [version.port for version in state.versions.values()]:
            state = with_version(state, name, port=int(port))
    return state


def _with_all_processes(state: BlueGreenState, deployment: Deployment) -> BlueGreenState:
    """The state with every process of ours that runs, each where it was told to listen."""
    for version in state.versions.values():
        places = [] if deployment.is_run_by_others(version) else list(deployment.addresses(version))
        for number in range(1, MAX_BACKENDS + 1 if places else 0):
            found = deployment.processes.find(one_of(version, number))
            if found.alive and (place := _told_place(found.pid, deployment.app.address)) is not None:
                places[number - 1 : number] = [place]
        instances = recorded(tuple(places))
        if places and instances != version.instances:
            state = with_version(state, version.name, instances=instances)
    return state


def _told_place(pid: int | None, address: str) -> Address | None:
    """Where a process of ours was told to listen; None where it may not be asked."""
    if path := _told(pid, "BG_SOCKET"):
        return Address(path)
    port = _told(pid, "PORT")
    return Address(address, int(port)) if is_port(port) else None


def _told(pid: int | None, name: str) -> str:
    """A variable of a process of ours; "" where it has none or may not be asked."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    words = (word.partition(b"=") for word in environ.split(b"\0"))
    return next((value.decode("utf-8", "replace") for key, _, value in words if key == name.encode()), "")


def _kept_at(store: StateStore) -> float:
    return last_good_path(store.path).stat().st_mtime


def _age_text(deployment: Deployment) -> str:
    return f"{max(0, deployment.now() - _kept_at(deployment.store)):.0f} s"


def restore(deployment: Deployment, history: History, repair: Repair) -> Path | None:
    """Put the state in place; gives where the broken file is kept. Only for who holds the lock; raises `StateError`."""
    state, store = repair.state, deployment.store
    try:
        what = f"{repair.fault}; restored from {' and '.join(repair.sources)}"
        store.writer = history.note("repair", state.active_version, state.active_version, what, deployment.now())
    except StateError as error:  # traffic hangs on the state, and not on the history
        deployment.note(str(error), warns=True)
    aside = _keep_aside(store.path) if repair.broken is not None else None
    store.write(replace(state, serial=state.serial + 1))
    return aside


def _keep_aside(path: Path) -> Path:
    """A second name for the broken file, which it has still when another is put in its place."""
    real = Path(os.path.realpath(path))
    stem = f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}"
    for aside in (path.with_name(stem + "-2" * again) for again in range(100)):
        try:
            os.link(real, aside)
            return aside
        except FileExistsError:
            continue
        except OSError as error:
            raise StateError(
                f"{path} could not be kept as {aside}: {error.strerror}; nothing was changed", f"ls -ld {path.parent}"
            ) from error
    raise StateError(f"{path.parent} is full of broken state files of this second", repair_command())
