"""What the next command does about commands that broke off: says what happened, and finishes or undoes it.

The intent and each phase are on the disk before they begin, so the history says how far a command came, and
the phase table says what to do about it. Being killed in the middle of this does no harm: everything here can
be done twice, and an entry is closed only after what it needs is done.

A history that lost its end, or was put back from a copy, tells of commands as unfinished that were not. The state
names the command that changed it last: where the history does not know that one, no process is touched; and where
that command has done its last phase, only its end could not be written (a full disk), and there is nothing to undo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.events import BrokenOff
from app.deploy.phases import PHASES, Operation, Phase, Recovery
from app.deploy.processes.process_table import is_same_process
from app.deploy.record.history import Entry, History
from app.operator_errors import StateError
from app.state.instances import all_of
from app.state.model import VERSIONS, BlueGreenState, Status, started_with
from app.state.store import Holder

__all__ = ["recover"]


def recover(deployment: Deployment, history: History, stale: Holder | None) -> None:
    """Bring the commands that broke off to an end; `stale` died holding the lock. Only for who holds it."""
    told = set()
    for entry in history.unfinished():
        if is_same_process(entry.pid, entry.birth):
            continue  # a drain goes on without the lock, and so does a version in the foreground
        outcome, stands = _judged(deployment, history, entry)
        deployment.report(BrokenOff(entry.command, entry.pid, entry.phase or "", stands, outcome == _BROKEN_OFF))
        _close(deployment, history, entry, outcome, stands)
        told.add(entry.pid)
    if stale is not None and stale.pid not in told:
        deployment.note(f"took over the lock of {stale}, which was killed before it changed anything", warns=True)


_BROKEN_OFF: Final = "broken off"
_OLDER: Final = "the state file was changed by a later command that the history has lost; nothing was touched"
_DONE: Final = "the state file says that all of it was done"


def _judged(deployment: Deployment, history: History, entry: Entry) -> tuple[str, str]:
    """How a command without an end comes to one: its outcome, and what stands now."""
    state = deployment.store.read_or_new()
    if state.changed_by and not history.knows(state.changed_by):
        return "unknown", _OLDER
    if state.changed_by == entry.id and _has_done_last_phase(state, entry):
        return "done", _DONE
    return _BROKEN_OFF, _put_in_order(deployment, entry)


def _has_done_last_phase(state: BlueGreenState, entry: Entry) -> bool:
    """Whether the state, which this command changed last, is as the last phase of its plan leaves it."""
    mark = _MARKS.get(entry.phase or "")
    return mark is not None and entry.phase in entry.phases[-1:] and mark(state, entry)


_MARKS: Final[Mapping[str, Callable[[BlueGreenState, Entry], bool]]] = {
    # The active version is left running by a start that fails, too.
    Phase.GATING: lambda state, entry: state.active_version != entry.target and _is(state, entry.target, "running"),
    Phase.PROMOTING: lambda state, entry: state.active_version == entry.target,
    Phase.WRITE_STATE: lambda state, entry: True,
    Phase.RETIRING: lambda state, entry: _is(state, _to_stop(entry), "stopped"),
}
"""By what the state shows that a phase was done; a drain leaves no mark in it."""


def _is(state: BlueGreenState, name: str | None, status: Status) -> bool:
    return name in VERSIONS and state.version(name).status == status


def _to_stop(entry: Entry) -> str | None:
    """The version that a stop, or a deploy which retires the old one, is to end."""
    return entry.target if entry.operation == Operation.STOP else entry.came_from


def _put_in_order(deployment: Deployment, entry: Entry) -> str:
    """Finish or undo what a command had begun; gives what stands now."""
    if entry.phase not in set(Phase):
        return "it had done nothing yet"
    rule = PHASES[Phase(entry.phase)]
    # A wait for the requests of some processes is a part of what is done with these.
    recovery = Recovery.PUT_BACK if Phase.SPARING in entry.phases else rule.recovery
    return _RECOVERIES[recovery](deployment, entry) or rule.left_behind


def _close(deployment: Deployment, history: History, entry: Entry, outcome: str, stands: str) -> None:
    try:
        history.append({"id": entry.id, "outcome": outcome, "detail": stands})
    except StateError as error:
        deployment.note(str(error), warns=True)


def _leave(deployment: Deployment, entry: Entry) -> str:
    """Nothing is to be done; a restart of the active version that stopped half way needs the operator."""
    state = deployment.store.read_or_new()
    active = state.active
    if (
        entry.phase == Phase.CLEARING
        and active is not None
        and active.name == entry.target
        and not deployment.runs(active)
    ):
        return f"{active.name} is active and was left stopped; {PROGRAM} start {active.name}"
    return ""


def _undo_start(deployment: Deployment, entry: Entry) -> str:
    """Stop what the command had started, unless it came to have the traffic."""
    state = deployment.store.read_or_new()
    if entry.target not in VERSIONS or Phase.LAUNCHING not in entry.phases:
        return f"{entry.target} is active" if state.active_version == entry.target else ""
    version = state.version(entry.target)
    if state.active_version == entry.target:
        return f"{entry.target} is active, so it was left as it is"
    ran = deployment.is_alive(version)
    if ran:
        deployment.stop(version)
    if entry.replaces:  # an older program did not say
        deployment.restore_spec(started_with(version, entry.replaces))
    had = "a share of the requests" if entry.phase == Phase.CANARY else "no traffic yet"
    return f"{entry.target} had {had} and was stopped" if ran else f"{entry.target} was not started"


def _take_back(deployment: Deployment, entry: Entry) -> str:
    """Give the requests of a canary whose conductor is gone to the active version, and stop the canary."""
    from app.deploy.conduct.share import take_back

    if entry.target in VERSIONS and deployment.store.read_or_new().active_version != entry.target:
        take_back(deployment, entry.target)
    return _undo_start(deployment, entry)


def _finish_stop(deployment: Deployment, entry: Entry) -> str:
    """Stop what the command was about to stop, unless it has the traffic by now."""
    state = deployment.store.read_or_new()
    name = _to_stop(entry)
    if name not in VERSIONS:
        return ""
    version = state.version(name)
    if not deployment.is_alive(version):
        return f"{name} is stopped"
    if state.active_version == name:
        return f"{name} is active, so it was left running"
    deployment.stop(version)
    return f"{name} has been stopped now"


def _put_back(deployment: Deployment, entry: Entry) -> str:
    """Give the processes of a version requests again that live, and end those that the state does not list."""
    from app.deploy.run.turns import last_drained, put_back

    if entry.target not in VERSIONS:
        return ""
    version = deployment.store.read_or_new().version(entry.target)
    put_back(deployment, version.name, last_drained(version) if entry.operation == Operation.SCALE else None)
    version = deployment.store.read_or_new().version(entry.target)
    ones = all_of(version)
    stopped = [str(number) for number, one in enumerate(ones, start=1) if not deployment.is_alive(one)]
    if not stopped or version.status != "running":
        return ""
    if len(stopped) == len(ones):
        return f"{version.name} is stopped; {PROGRAM} restart {version.name}"
    which = f"process {stopped[0]}" if len(stopped) == 1 else f"processes {' and '.join(stopped)}"
    verb = "is" if len(stopped) == 1 else "are"
    return f"{which} of {version.name} {verb} stopped; {PROGRAM} restart {version.name}"


_RECOVERIES: Final[Mapping[Recovery, Callable[[Deployment, Entry], str]]] = {
    Recovery.NOTHING: _leave,
    Recovery.STOP_TARGET: _undo_start,
    Recovery.TAKE_BACK: _take_back,
    Recovery.FINISH_STOP: _finish_stop,
    Recovery.PUT_BACK: _put_back,
}
