"""The phases of every deploy command as tables: what may follow what, what a failure undoes, who needs the
lock.

A command is planned as a tuple of phases before anything is done, and the plan is written down as the
intent. A command that was killed therefore leaves a record from which the next one can say how far it came.

    preparing    the configured commands before a start run in the release's directory
    clearing     the target's old process finishes its requests and is stopped
    launching    a process is started for the target
    gating       the target must answer its health checks before it may get traffic
    smoke_test   the configured smoke commands try the target before it gets traffic
    reverting    the configured commands before a way back run in the release that is left
    canary       the target has a share of the requests, which grows as long as nothing speaks against it
    promoting    the state file is replaced; each later request goes to the target
    linking      the link `[release] current` is moved to the target's release
    post_switch  the configured commands after a switch run
    watching     the target's errors and times are compared with those of the version before it
    write_state  the state file is replaced; from then on requests wait, are answered with the maintenance
                 page, or are let through again
    draining     the requests that are still in flight come to their end
    retiring     a version is stopped
    sparing      some of the target's processes get no new requests any more
    replacing    such a process is stopped and started again, and must be healthy before it gets requests
    adding       further processes of the target are started, and must be healthy before they get requests
    removing     such processes are stopped
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from app.operator_errors import OperatorError

__all__ = [
    "PHASES",
    "Configured",
    "Operation",
    "Phase",
    "Recovery",
    "PhaseRule",
    "Undo",
    "check_order",
    "phases_of",
    "phases_of_turns",
]


class Phase(StrEnum):
    """One step of a command."""

    PREPARING = "preparing"
    CLEARING = "clearing"
    LAUNCHING = "launching"
    GATING = "gating"
    SMOKE_TEST = "smoke_test"
    REVERTING = "reverting"
    CANARY = "canary"
    PROMOTING = "promoting"
    LINKING = "linking"
    POST_SWITCH = "post_switch"
    WATCHING = "watching"
    WRITE_STATE = "write_state"
    DRAINING = "draining"
    RETIRING = "retiring"
    SPARING = "sparing"
    REPLACING = "replacing"
    ADDING = "adding"
    REMOVING = "removing"


class Undo(StrEnum):
    """What becomes of the target when a phase fails or is broken off."""

    NOTHING = "nothing"
    STOP_TARGET = "stop target"
    TAKE_BACK = "take back"
    """All requests go to the version that is active; the target is stopped when it was started for this."""
    PUT_BACK = "put back"
    """Those of its processes that live get requests again; what was started and has none yet is stopped."""
    ROLL_BACK = "roll back"
    ROLL_BACK_IF_WATCHED = "roll back if watched"
    """Only when the target has failed: neither an interruption nor a busy old version speaks against it."""


class Recovery(StrEnum):
    """What the next command does about one that was killed (SIGKILL, power cut) in a phase.

    Nobody knows how long ago that was. So what never had traffic is undone, what was to end is ended, and
    traffic is not moved.
    """

    NOTHING = "nothing"
    STOP_TARGET = "stop target"
    TAKE_BACK = "take back"
    FINISH_STOP = "finish stop"
    PUT_BACK = "put back"


class Operation(StrEnum):
    """A command that changes something."""

    START = "start"
    RUN = "run"
    STOP = "stop"
    RESTART = "restart"
    SWITCH = "switch"
    ROLLBACK = "rollback"
    DEPLOY = "deploy"
    ORDER = "order"
    PREPARE = "prepare"
    PAUSE = "pause"
    RESUME = "resume"
    MAINTENANCE = "maintenance"
    PREVIEW = "preview"
    SCALE = "scale"
    DRAIN = "drain"
    UNDRAIN = "undrain"


class PhaseRule(NamedTuple):
    """What holds for one phase. `locked` phases exclude every other command; a drain must not, for while it
    lasts the operator may want to roll back. `left_behind` says what stands when the phase did not come to
    its end.
    """

    next: frozenset[Phase]
    undo: Undo
    recovery: Recovery
    locked: bool
    left_behind: str


_TRAFFIC_STAYS: Final = "traffic stays where it was"

_ALL_SERVE: Final = "those that the state file names have the requests"

_STATE_DECIDES: Final = "traffic goes to the version that the state file names"

PHASES: Final[Mapping[Phase, PhaseRule]] = {
    Phase.PREPARING: PhaseRule(
        next=frozenset({Phase.CLEARING, Phase.LAUNCHING}),
        undo=Undo.NOTHING,
        recovery=Recovery.NOTHING,
        locked=True,
        left_behind=f"not all of the before commands may have run; no version was touched, and {_TRAFFIC_STAYS}",
    ),
    Phase.CLEARING: PhaseRule(
        next=frozenset({Phase.LAUNCHING}),
        undo=Undo.NOTHING,
        recovery=Recovery.NOTHING,
        locked=True,
        left_behind=f"the version may be stopped; {_TRAFFIC_STAYS}",
    ),
    Phase.LAUNCHING: PhaseRule(
        next=frozenset({Phase.GATING}),
        undo=Undo.STOP_TARGET,
        recovery=Recovery.STOP_TARGET,
        locked=True,
        left_behind=f"the version may be running; {_TRAFFIC_STAYS}",
    ),
    Phase.GATING: PhaseRule(
        next=frozenset({Phase.SMOKE_TEST, Phase.REVERTING, Phase.CANARY, Phase.PROMOTING, Phase.LINKING}),
        undo=Undo.STOP_TARGET,
        recovery=Recovery.STOP_TARGET,
        locked=True,
        left_behind=f"the version may be running; {_TRAFFIC_STAYS}",
    ),
    Phase.SMOKE_TEST: PhaseRule(
        next=frozenset({Phase.CANARY, Phase.PROMOTING}),
        undo=Undo.STOP_TARGET,
        recovery=Recovery.STOP_TARGET,
        locked=True,
        left_behind=f"the version may be running; {_TRAFFIC_STAYS}",
    ),
    Phase.REVERTING: PhaseRule(
        next=frozenset({Phase.PROMOTING}),
        undo=Undo.STOP_TARGET,
        recovery=Recovery.STOP_TARGET,
        locked=True,
        left_behind=f"not all of the rollback commands may have run; {_TRAFFIC_STAYS}",
    ),
    Phase.CANARY: PhaseRule(
        next=frozenset({Phase.PROMOTING}),
        undo=Undo.TAKE_BACK,
        recovery=Recovery.TAKE_BACK,
        locked=False,
        left_behind="the version has no requests any more from ten seconds later on, and may be running",
    ),
    Phase.PROMOTING: PhaseRule(
        next=frozenset({Phase.LINKING, Phase.POST_SWITCH, Phase.WATCHING, Phase.DRAINING}),
        undo=Undo.NOTHING,
        recovery=Recovery.STOP_TARGET,
        locked=True,
        left_behind=_STATE_DECIDES,
    ),
    Phase.LINKING: PhaseRule(  # after the switch: the link is never ahead of the traffic, and the state file decides
        next=frozenset({Phase.POST_SWITCH, Phase.WATCHING, Phase.DRAINING}),
        undo=Undo.NOTHING,
        recovery=Recovery.NOTHING,
        locked=True,
        left_behind=f"{_STATE_DECIDES}, and so does the link after the next command",
    ),
    Phase.POST_SWITCH: PhaseRule(
        next=frozenset({Phase.WATCHING, Phase.DRAINING}),
        undo=Undo.ROLL_BACK,
        recovery=Recovery.NOTHING,
        locked=True,
        left_behind=f"{_STATE_DECIDES}; not all of the post commands may have run",
    ),
    Phase.WATCHING: PhaseRule(
        next=frozenset({Phase.DRAINING}),
        undo=Undo.ROLL_BACK,
        recovery=Recovery.NOTHING,
        locked=False,
        left_behind=f"{_STATE_DECIDES}; nobody watches it any more",
    ),
    Phase.WRITE_STATE: PhaseRule(
        next=frozenset({Phase.DRAINING}),
        undo=Undo.NOTHING,
        recovery=Recovery.NOTHING,
        locked=True,
        left_behind="what the state file says holds",
    ),
    Phase.DRAINING: PhaseRule(
        next=frozenset({Phase.RETIRING, Phase.REPLACING, Phase.REMOVING}),
        undo=Undo.ROLL_BACK_IF_WATCHED,
        recovery=Recovery.NOTHING,
        locked=False,
        left_behind="requests may still be in flight; no version was stopped",
    ),
    Phase.RETIRING: PhaseRule(
        next=frozenset(),
        undo=Undo.NOTHING,
        recovery=Recovery.FINISH_STOP,
        locked=True,
        left_behind="the version may be stopped",
    ),
    Phase.SPARING: PhaseRule(
        next=frozenset({Phase.DRAINING}),
        undo=Undo.PUT_BACK,
        recovery=Recovery.PUT_BACK,
        locked=True,
        left_behind=_ALL_SERVE,
    ),
    Phase.REPLACING: PhaseRule(
        next=frozenset({Phase.SPARING, Phase.REPLACING}),
        undo=Undo.PUT_BACK,
        recovery=Recovery.PUT_BACK,
        locked=True,
        left_behind="a process of the version may be stopped; the others have its requests",
    ),
    Phase.ADDING: PhaseRule(
        next=frozenset(),
        undo=Undo.PUT_BACK,
        recovery=Recovery.PUT_BACK,
        locked=True,
        left_behind=f"no further process runs; {_ALL_SERVE}",
    ),
    Phase.REMOVING: PhaseRule(
        next=frozenset(),
        undo=Undo.PUT_BACK,
        recovery=Recovery.PUT_BACK,
        locked=True,
        left_behind="some of these processes may be stopped; the others have their requests",
    ),
}


def check_order(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Give the plan back; raises `OperatorError` when a step may not follow the one before it."""
    for before, after in zip(phases, phases[1:], strict=False):
        if after not in PHASES[before].next:
            raise OperatorError(f"{after} cannot follow {before}")
    return phases


def phases_of_turns(operation: Operation, turns: int, *, waits: bool, grows: bool = False) -> tuple[Phase, ...]:
    """The phases of a command that takes so many turns at some of the target's processes, the others serving.

    `waits`: each turn first waits for the requests that these have. `grows`: it adds processes instead.
    """
    if grows:
        return (Phase.ADDING,)
    last = Phase.REMOVING if operation is Operation.SCALE else Phase.REPLACING
    one = (Phase.SPARING, Phase.DRAINING, last) if waits else (last,)
    return check_order(one * turns)


class Configured(NamedTuple):
    """Which of the configured commands run around a switch, whether it is watched, and begins with a share."""

    before: bool = False
    revert: bool = False
    smoke: bool = False
    post: bool = False
    watch: bool = False
    canary: bool = False


_NO_CHECKS: Final = Configured()


def phases_of(
    operation: Operation,
    *,
    target_runs: bool,
    promotes: bool = True,
    drains: bool = False,
    retires: bool = False,
    replaces: bool = False,
    checks: Configured = _NO_CHECKS,
) -> tuple[Phase, ...]:
    """The phases of a command.

    `target_runs`: the target has a process of ours. `promotes`: the target is to become the active version,
    which it is not yet. `drains`: wait for the requests of the version that loses its traffic. `retires`:
    then stop it. `replaces`: a target that runs is given a new process.
    """
    if operation is Operation.STOP:
        return check_order((*(Phase.DRAINING,) * drains, Phase.RETIRING))
    if operation in _MODES:
        return check_order((Phase.WRITE_STATE, *(Phase.DRAINING,) * drains))
    phases: list[Phase] = []
    replaces = replaces or operation in _REPLACING
    phases += [Phase.PREPARING] * checks.before
    if target_runs and replaces:
        phases.append(Phase.CLEARING)
    if not target_runs or replaces:
        phases.append(Phase.LAUNCHING)
    phases.append(Phase.GATING)
    if promotes or operation is Operation.PREPARE:
        phases += [Phase.SMOKE_TEST] * checks.smoke
    if promotes:
        phases += [Phase.REVERTING] * checks.revert + [Phase.CANARY] * checks.canary + [Phase.PROMOTING]
        phases += [Phase.POST_SWITCH] * checks.post + [Phase.WATCHING] * checks.watch
        phases += [Phase.DRAINING] * drains + [Phase.RETIRING] * retires
    return check_order(tuple(phases))


_REPLACING = frozenset({Operation.RESTART, Operation.DEPLOY, Operation.PREPARE})
"""Commands that put a new process in the place of one that runs."""

_MODES = frozenset(
    {
        *(Operation.PAUSE, Operation.RESUME, Operation.MAINTENANCE, Operation.PREVIEW),
        *(Operation.DRAIN, Operation.UNDRAIN, Operation.ORDER),
    }
)
"""Commands that touch no version: they replace the state file and perhaps wait."""
