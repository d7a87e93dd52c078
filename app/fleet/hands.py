"""What a node's duty has done, by the deploy code that the commands use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from app.deploy.deployer import Deployer
from app.deploy.events import Diagnosed, Event, Ran, Reporter
from app.deploy.modes import Modes
from app.deploy.standby import prepare, promote, take_back
from app.fleet.allowed import Allowed
from app.fleet.records import Sample, Wanted
from app.operator_errors import OperatorError
from app.state.model import BlueGreenState

__all__ = ["DeployTools", "NodeHands"]

_MOST_EVIDENCE: Final = 40
"""Lines: as many as a value in the store can well have."""

_LONGEST: Final = 400


class DeployTools(NamedTuple):
    """What acts on this machine's deployment, made anew for each order: settings may have changed since the last."""

    deployer: Deployer
    modes: Modes
    allowed: Allowed


class NodeHands:
    """`open_tools` gets who is to be told of events."""

    def __init__(self, open_tools: Callable[[Reporter], DeployTools], report: Reporter) -> None:
        self._open, self._report = open_tools, report
        self.evidence: tuple[str, ...] = ()

    def active(self) -> str | None:
        """The record of what is active."""
        active = self._tools().deployer.deployment.store.read_or_new().active
        return active.record if active is not None else None

    def prepare(self, wanted: Wanted) -> str | None:
        """Start it as the standby; raises `OperatorError` for what is not allowed here, or not healthy."""
        self.evidence = ()
        tools = self._tools()
        return prepare(tools.deployer, tools.allowed.overrides(wanted))

    def adopt(self, wanted: Wanted, record: str | None, *, is_new: bool) -> str | None:
        """Make it active; see `duty.Hands`."""
        self.evidence = ()
        tools = self._tools()
        deployer, deployment = tools.deployer, tools.deployer.deployment
        state = deployment.store.read_or_new()
        if state.active is not None and self._is(state, state.active.name, wanted, record):
            return state.active.record
        standby = state.standby_version
        is_there = record is not None and state.version(standby).record == record
        if is_there and not is_new and state.previous_version == standby:
            deployer.rollback()
        elif is_there and deployment.runs(state.version(standby)):
            promote(deployer)
        else:
            if not wanted.origin:
                raise OperatorError("this node no longer has what it ran before it was in the fleet")
            record = prepare(deployer, tools.allowed.overrides(wanted))
            promote(deployer)
        return record

    def take_back(self) -> None:
        """Stop what was prepared."""
        take_back(self._tools().deployer)

    def hold(self, seconds: float) -> None:
        """Let new requests wait; when this returns, no worker sends one on."""
        tools = self._tools()
        tools.modes.pause(seconds)
        tools.deployer.deployment.wait_for_workers()

    def resume(self) -> None:
        """Let them go on."""
        self._tools().modes.resume()

    def left(self) -> int:
        """How many requests the version that is not active has in flight."""
        deployment = self._tools().deployer.deployment
        return deployment.traffic.in_flight(deployment.store.read().standby_version) if deployment.traffic else 0

    def sample(self, seconds: float) -> Sample | None:
        """How the active version did; None where no router runs."""
        deployment = self._tools().deployer.deployment
        active = deployment.store.read_or_new().active_version
        if deployment.traffic is None or active is None:
            return None
        conduct = deployment.traffic.conduct(active, math.ceil(seconds))
        return Sample(float(math.ceil(seconds)), conduct.requests, conduct.failed, conduct.p95_ms or 0.0)

    def _is(self, state: BlueGreenState, version: str, wanted: Wanted, record: str | None) -> bool:
        """Whether a version runs what is wanted; one of before this node was in the fleet is known by its name."""
        runs = state.version(version)
        if record is not None:
            return runs.record == record
        return not wanted.origin or (wanted.release is not None and runs.release == wanted.release)

    def _tools(self) -> DeployTools:
        return self._open(self._tell)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Diagnosed):
            probes = [f"{it.elapsed_s:.1f} s: {it.result.status or it.result.reason}" for it in event.probes[-5:]]
            self.evidence = _lines([f"{event.version}, its last probes:", *probes, "its log:", *event.log_tail])
        elif isinstance(event, Ran) and event.failure:
            self.evidence = _lines([f"{event.command}: {event.failure}", *event.output])
        self._report(event)


def _lines(lines: list[str]) -> tuple[str, ...]:
    shown = lines if len(lines) <= _MOST_EVIDENCE else [*lines[:8], "…", *lines[9 - _MOST_EVIDENCE :]]
    return tuple(line[:_LONGEST] for line in shown)
