"""The phases of every deploy command as tables: what may follow what, what a failure undoes, who needs the
lock.

A command is planned as a tuple of phases before anything is done, and the plan is written down as the
intent. A command that was killed therefore leaves a record from which the next one can say how far it came.

    clearing   the target's old process finishes its requests and is stopped
    launching  a process is started for the target
    gating     the target must answer its health checks before it may get traffic
    promoting  the state file is replaced; each later request goes to the target
    draining   the requests that the old version still has come to their end
    retiring   a version is stopped
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.errors import OperatorError

__all__ = ["PHASES", "Operation", "Phase", "Rule", "Undo", "check_plan", "plan"]


class Phase(StrEnum):
    """One step of a command."""

    CLEARING = "clearing"
    LAUNCHING = "launching"
    GATING = "gating"
    PROMOTING = "promoting"
    DRAINING = "draining"
    RETIRING = "retiring"


class Undo(StrEnum):
    """What becomes of the target when a phase fails or is broken off."""

    NOTHING = "nothing"
    STOP_TARGET = "stop target"


class Operation(StrEnum):
    """A command that changes something."""

    START = "start"
    RUN = "run"
    STOP = "stop"
    RESTART = "restart"
    SWITCH = "switch"
    ROLLBACK = "rollback"
    DEPLOY = "deploy"


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for one phase. `locked` phases exclude every other command; a drain must not, for while it
    lasts the operator may want to roll back. `left_behind` says what stands when the phase did not come to
    its end.
    """

    next: frozenset[Phase]
    undo: Undo
    locked: bool
    left_behind: str


_TRAFFIC_STAYS: Final = "traffic stays where it was"

PHASES: Final[Mapping[Phase, Rule]] = {
    Phase.CLEARING: Rule(
        next=frozenset({Phase.LAUNCHING}),
        undo=Undo.NOTHING,
        locked=True,
        left_behind=f"the version may be stopped; {_TRAFFIC_STAYS}",
    ),
    Phase.LAUNCHING: Rule(
        next=frozenset({Phase.GATING}),
        undo=Undo.STOP_TARGET,
        locked=True,
        left_behind=f"the version may be running; {_TRAFFIC_STAYS}",
    ),
    Phase.GATING: Rule(
        next=frozenset({Phase.PROMOTING}),
        undo=Undo.STOP_TARGET,
        locked=True,
        left_behind=f"the version may be running; {_TRAFFIC_STAYS}",
    ),
    Phase.PROMOTING: Rule(
        next=frozenset({Phase.DRAINING}),
        undo=Undo.NOTHING,
        locked=True,
        left_behind="traffic goes to the version that the state file names",
    ),
    Phase.DRAINING: Rule(
        next=frozenset({Phase.RETIRING}),
        undo=Undo.NOTHING,
        locked=False,
        left_behind="requests may still be in flight; no version was stopped",
    ),
    Phase.RETIRING: Rule(
        next=frozenset(),
        undo=Undo.NOTHING,
        locked=True,
        left_behind="the version may be stopped",
    ),
}


def check_plan(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Give the plan back; raises `OperatorError` when a step may not follow the one before it."""
    for before, after in zip(phases, phases[1:], strict=False):
        if after not in PHASES[before].next:
            raise OperatorError(f"{after} cannot follow {before}")
    return phases


def plan(
    operation: Operation,
    *,
    target_runs: bool,
    promotes: bool = True,
    drains: bool = False,
    retires: bool = False,
) -> tuple[Phase, ...]:
    """The phases of a command.

    `target_runs`: the target has a process of ours. `promotes`: the target is to become the active version,
    which it is not yet. `drains`: wait for the requests of the version that loses its traffic. `retires`:
    then stop it.
    """
    if operation is Operation.STOP:
        return check_plan((*(Phase.DRAINING,) * drains, Phase.RETIRING))
    phases: list[Phase] = []
    if target_runs and operation in _REPLACING:
        phases.append(Phase.CLEARING)
    if not target_runs or operation in _REPLACING:
        phases.append(Phase.LAUNCHING)
    phases.append(Phase.GATING)
    if promotes:
        phases.append(Phase.PROMOTING)
        phases += [Phase.DRAINING] * drains + [Phase.RETIRING] * retires
    return check_plan(tuple(phases))


_REPLACING = frozenset({Operation.RESTART, Operation.DEPLOY})
"""Commands that put a new process in the place of one that runs."""
