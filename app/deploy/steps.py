"""The phases as actions on one deployment: each reads the state, does its one thing and writes the new state.

A step that fails raises an `OperatorError`. It does not clean up: what a failure undoes is in the phase
table, and `deployer` does it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from app.config import AppConfig
from app.deploy.drain import Drain, Traffic
from app.deploy.events import Diagnosed, Launched, Noted, Promoted, Reporter, Stopped, Stopping
from app.deploy.gate import Gate, Verdict
from app.deploy.launch import Launch, launch_of
from app.deploy.log_file import size, tail
from app.deploy.phases import Operation, Phase
from app.deploy.processes import Found, port_holder, start_time
from app.deploy.reconcile import as_found, ending_text
from app.errors import DrainTimedOut, ProcessError, UnhealthyVersion
from app.state.model import VERSIONS, BlueGreenState, VersionState, promote, put_version
from app.state.store import StateStore

__all__ = ["ProcessTable", "Request", "Steps"]

_LOG_LINES = 20

PROGRAM: Final = "python3 bin/blue_green_deploy"
"""How the commands are named in hints."""


class ProcessTable(Protocol):
    """What the steps need of `Processes`."""

    def log_path(self, name: str) -> Path: ...
    def find(self, version: VersionState) -> Found: ...
    def start(self, name: str, launch: Launch) -> int: ...
    def stop(self, version: VersionState, timeout_s: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One command, decided: what it does to which version.

    `leaving` is the version that loses its traffic or is to be stopped. `described` is the target with the
    release, directory and command that it is to be started with.
    """

    operation: Operation
    target: str
    phases: tuple[Phase, ...]
    described: VersionState
    leaving: str | None = None
    force: bool = False

    @property
    def launches(self) -> bool:
        """Whether the command starts a process, which is then its own to stop when it fails."""
        return Phase.LAUNCHING in self.phases


@dataclass(slots=True)
class Steps:
    """Acts on the versions of one state file. `traffic` is None while no router runs; `now` is wall time."""

    store: StateStore
    processes: ProcessTable
    app: AppConfig
    gate: Gate
    traffic: Traffic | None
    report: Reporter
    drain_timeout_s: float
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    _log_begin: int = 0
    """Where the log of the process that was started last begins; before it are its predecessors' lines."""

    def run(self, phase: Phase, request: Request) -> None:
        """Carry out one phase; raises `OperatorError` when it fails."""
        _STEPS[phase](self, request)

    def is_alive(self, version: VersionState) -> bool:
        """Whether the version has a living process of ours."""
        return self.processes.find(version).alive

    def settle(self) -> BlueGreenState:
        """The state, corrected by what the processes are found to do; only for who holds the lock."""
        state = self.store.read_or_new()
        found = self.observed(state, is_settled=True)
        if found != state:
            self.store.write(found)
        return found

    def observed(self, state: BlueGreenState, *, is_settled: bool = False) -> BlueGreenState:
        """The state with each version as it is found to be; nothing is written."""
        for name in VERSIONS:
            recorded = state.version(name)
            found = self.processes.find(recorded)
            actual = as_found(recorded, found, is_settled=is_settled)
            if actual.pid is not None and actual.pid != recorded.pid:
                actual = replace(actual, pid_started=start_time(actual.pid))
            if actual != recorded:
                state = put_version(state, actual)
        return state

    # --- the phases
    # ------------------------------------------------------------------------------------------

    def clear(self, request: Request) -> None:
        """Stop what the target runs now, after the requests that it still has."""
        state, name = self.store.read(), request.target
        if name == state.active_version:
            self.report(Noted(f"{name} is active: requests fail until it is healthy again", warns=True))
        else:
            self._drain(name, f"{name} was not touched")
        self.stop(state.version(name))

    def launch(self, request: Request) -> None:
        """Start the target's process and record it."""
        version = request.described
        launch = launch_of(version, self.app, self.environ)
        # What a crashed process has left behind would keep the port.
        self.processes.stop(version, self.app.stop_timeout)
        if port_is_open(version.port):
            raise _port_taken(version)
        fresh = replace(version, status="starting", pid=None, pid_started=None, started_at=self.now(), exit_status=None)
        self.put(fresh)
        self._log_begin = size(self.processes.log_path(version.name))
        pid = self.processes.start(version.name, launch)
        self.put(replace(fresh, pid=pid, pid_started=start_time(pid)))
        self.report(
            Launched(
                version=version.name,
                pid=pid,
                port=version.port,
                command=launch.command,
                directory=launch.directory,
                release=version.release,
                log=self.processes.log_path(version.name),
                is_demo=not (version.command or self.app.command),
            )
        )

    def pass_gate(self, request: Request) -> None:
        """Ask the target for its health: patiently when it was just started, else at once."""
        version = self.store.read_or_new().version(request.target)
        if request.launches:
            verdict = self.gate.wait(version.name, version.port, lambda: self.is_alive(version))
        else:
            verdict = self.gate.confirm(version.name, version.port)
        if verdict.reason:
            self._fail_gate(version, verdict, request)
        if self.is_alive(version) and version.status != "running":
            self.put(replace(version, status="running"))

    def make_active(self, request: Request) -> None:
        """Replace the state file; when this returns, each later request goes to the target."""
        before = self.store.read_or_new()
        after = promote(before, request.target, self.now())
        self.store.write(after)
        is_first = before.active_version is None
        self.report(Promoted(request.target, after.version(request.target).port, before.active_version, is_first))

    def wait_for_drain(self, request: Request) -> None:
        """Wait for the requests that are still on the version which lost its traffic."""
        if request.leaving is None:
            return
        stands = f"{request.leaving} keeps running"
        if request.operation is not Operation.STOP:
            stands = f"{request.target} is active, {stands}"
        self._drain(request.leaving, stands)

    def retire(self, request: Request) -> None:
        """Stop a version, unless it has become the active one since this was decided."""
        if request.leaving is None:
            return
        state = self.store.read()
        if state.active_version == request.leaving and not request.force:
            raise ProcessError(
                f"{request.leaving} has become the active version in the meantime, so it was not stopped"
            )
        self.stop(state.version(request.leaving))

    # --- what several of them need
    # -----------------------------------------------------------------------------

    def stop(self, version: VersionState) -> None:
        """End a version's process and record that it is stopped."""
        found = self.processes.find(version)
        if found.alive and found.pid is not None:
            self.put(replace(version, status="stopping"))
            self.report(Stopping(version.name, found.pid, self.app.stop_timeout))
        was_killed = self.processes.stop(version, self.app.stop_timeout)
        ended = self.processes.find(version)
        self.put(replace(version, status="stopped", exit_status=ended.exit_status))
        if found.alive and found.pid is not None:
            self.report(Stopped(version.name, found.pid, ended.exit_status, was_killed))

    def put(self, version: VersionState) -> None:
        """Record a version; only for who holds the lock."""
        self.store.write(put_version(self.store.read_or_new(), version))

    def take_back(self, before: VersionState) -> None:
        """After a start that failed: what is remembered about the version is again what last worked.

        A rollback to it must not start the release that has just failed.
        """
        version = self.store.read().version(before.name)
        known = {"release": before.release, "dir": before.dir, "command": before.command}
        if known != {"release": version.release, "dir": version.dir, "command": version.command}:
            self.put(replace(before, status="stopped", pid=None, pid_started=None, exit_status=None))

    def _drain(self, name: str, stands: str) -> None:
        if self.traffic is None:
            self.report(Noted(f"the router is not running, so {name} has no requests to wait for"))
            return
        drain = Drain(self.traffic, self.report, self.clock, self.sleep)
        outcome = drain.wait(name, self.drain_timeout_s)
        if not outcome.is_complete:
            raise DrainTimedOut(
                f"{name} still has {_count(outcome.remaining)} in flight after {outcome.duration_s:.0f} s "
                f"(oldest: {outcome.oldest}); {stands}",
                f"{PROGRAM} stop {name} --force   # to cut them off",
            )

    def _fail_gate(self, version: VersionState, verdict: Verdict, request: Request) -> None:
        reason = f"{version.name} on port {version.port} is not healthy: {verdict.reason}"
        found = self.processes.find(version)
        if request.launches and not found.alive:
            reason += f" ({ending_text(found.exit_status)})"
        if request.force:
            self.report(Noted(f"{reason}; going on because of --force", warns=True))
            return
        log = self.processes.log_path(version.name)
        begin = self._log_begin if request.launches else 0
        log_tail = tail(log, _LOG_LINES, begin) if request.launches or found.alive else []
        self.report(Diagnosed(version.name, verdict.probes, log, tuple(log_tail)))
        raise UnhealthyVersion(reason, _mending(request))


_STEPS: Final[Mapping[Phase, Callable[[Steps, Request], None]]] = {
    Phase.CLEARING: Steps.clear,
    Phase.LAUNCHING: Steps.launch,
    Phase.GATING: Steps.pass_gate,
    Phase.PROMOTING: Steps.make_active,
    Phase.DRAINING: Steps.wait_for_drain,
    Phase.RETIRING: Steps.retire,
}


def _mending(request: Request) -> str:
    """The command that helps with a version that is not healthy."""
    if request.launches:
        return f"{PROGRAM} logs {request.target}"
    if Phase.PROMOTING in request.phases:
        return f"{PROGRAM} switch {request.target} --force   # to switch all the same"
    return f"{PROGRAM} restart {request.target}"


def _count(requests: int) -> str:
    return "1 request" if requests == 1 else f"{requests} requests"


def port_is_open(port: int) -> bool:
    """Whether something listens on a local port."""
    with socket.socket() as attempt:
        attempt.settimeout(1.0)
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def _port_taken(version: VersionState) -> ProcessError:
    holder = port_holder(version.port) or "a process that this user may not see"
    return ProcessError(
        f"port {version.port} of {version.name} is taken by {holder}",
        f'end it, or give {version.name} another port in the state file: "versions": '
        f'{{"{version.name}": {{"port": {version.port + 10}}}}}',
    )
