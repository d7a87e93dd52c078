"""What one command is going to do, decided before it does anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from app.deploy.drain import OnTimeout
from app.deploy.phases import Operation, Phase, phases_of_turns
from app.state.model import BlueGreenState, VersionState

if TYPE_CHECKING:
    from app.deploy.canary_plan import CanaryPlan
    from app.state.release import Release

__all__ = ["Plan", "in_turns"]


class Plan(NamedTuple):
    """One command, decided: what it does to which version.

    Attributes:
        spec: the target as it is, or with `release`, which it is to be started with.
        outgoing: the version that loses its traffic or is to be stopped.
        watch_s: how long to watch the target after the switch.
        drain_timeout_s: how long to wait for requests; None for as long as the settings say.
        change: what the phase WRITE_STATE makes of the state.
        before: the target as it is, where `spec` is another.
        turns: the numbers of the target's listeners that are dealt with together, one turn after the other.
        canary: how the target is given more and more of the requests, before it has them all.
    """

    operation: Operation
    target: str
    phases: tuple[Phase, ...]
    spec: VersionState
    release: Release | None = None
    outgoing: str | None = None
    force: bool = False
    on_timeout: OnTimeout = OnTimeout.FAIL
    watch_s: float = 0.0
    drain_timeout_s: float | None = None
    change: Callable[[BlueGreenState], BlueGreenState] = lambda state: state
    before: VersionState | None = None
    turns: tuple[tuple[int, ...], ...] = ()
    canary: CanaryPlan | None = None

    @property
    def launches(self) -> bool:
        """Whether the command starts a process, which is then its own to stop when it fails."""
        return Phase.LAUNCHING in self.phases


def in_turns(plan: Plan, version: VersionState, turns: tuple[tuple[int, ...], ...], waits: bool) -> Plan:
    """The command as one that deals with some listeners of its target at a time; `waits` for their requests first."""
    phases = phases_of_turns(plan.operation, len(turns), waits=waits)
    spec = replace(plan.spec, instances=version.instances, drained=version.drained)
    return plan._replace(phases=phases, spec=spec, before=version, turns=turns)
