"""What one command is going to do, decided before it does anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from app.deploy.drain import OnTimeout
from app.deploy.phases import Operation, Phase
from app.state.model import BlueGreenState, VersionState

if TYPE_CHECKING:
    from app.state.release import Release

__all__ = ["Plan"]


class Plan(NamedTuple):
    """One command, decided: what it does to which version.

    Attributes:
        spec: the target as it is, or with `release`, which it is to be started with.
        outgoing: the version that loses its traffic or is to be stopped.
        watch_s: how long to watch the target after the switch.
        drain_timeout_s: how long to wait for requests; None for as long as the settings say.
        change: what the phase WRITE_STATE makes of the state.
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

    @property
    def launches(self) -> bool:
        """Whether the command starts a process, which is then its own to stop when it fails."""
        return Phase.LAUNCHING in self.phases
