"""What a command can do to one deployment: look at it, record what is found, stop a version.

`app.deploy.run.actions` puts these together into the phases of the commands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING, Protocol

from app.address import Address
from app.command_line import PROGRAM
from app.deploy.drain import Drain
from app.deploy.events import Noted, Reporter, Stopped, Stopping
from app.deploy.judge.gate import Gate
from app.deploy.processes.process_table import Found
from app.deploy.processes.reconcile import as_found
from app.deploy.traffic import Traffic
from app.operator_errors import OperatorError, ProcessError
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.backends_settings import BackendsConfig
from app.settings.tables.deploy_settings import DeployConfig
from app.settings.tables.release_settings import ReleaseConfig
from app.state.instances import all_of
from app.state.listening import listed, places
from app.state.model import (
    VERSIONS,
    BlueGreenState,
    VersionState,
    put_version,
    started_with,
    without_maintenance,
    without_pause,
)
from app.state.process_birth import birth
from app.state.store import StateStore
from app.transport.loopback import is_open
from app.transport.names import addresses_of

if TYPE_CHECKING:
    from app.deploy.processes.launch import Launch
    from app.state.releases import Releases

__all__ = ["Deployment", "ProcessTable"]


class ProcessTable(Protocol):
    """What the steps need of `Processes`."""

    def log_path(self, name: str) -> Path: ...
    def find(self, version: VersionState) -> Found: ...
    def strays(self, version: VersionState) -> list[VersionState]: ...
    def start(self, name: str, launch: Launch) -> int: ...
    def begin_restarts(self, version: VersionState) -> None: ...
    def stop(self, version: VersionState, timeout_s: float, stop_signal: str) -> bool: ...


@dataclass(eq=False, repr=False)
class Deployment:
    """Acts on the versions of one state file. `traffic` is None while no router runs; `now` is wall time, `main_port`
    the router's.

    `blind` says why the traffic of a router that does run cannot be seen; `traffic` is None then, too.
    """

    store: StateStore
    processes: ProcessTable
    app: AppConfig
    gate: Gate
    traffic: Traffic | None
    report: Reporter
    drain_timeout_s: float
    hold_timeout_s: float = 0.0
    blind: str = ""
    deploy: DeployConfig = field(default_factory=DeployConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)
    backends: BackendsConfig = field(default_factory=BackendsConfig)
    main_port: int = 0
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    # A command asks for each name once: one that has no address may take long to say so.
    look_up: Callable[[str], tuple[str, ...]] = field(default_factory=lambda: cache(addresses_of))
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time

    @property
    def releases(self) -> Releases:
        """The records of what was started."""
        from app.state.releases import Releases  # a switch to what runs does without them

        return Releases(self.store.folder / "releases")

    # --- looking --------------------------------------------------------------------------------------------

    def is_alive(self, version: VersionState) -> bool:
        """Whether the version has a living process of ours."""
        return self.processes.find(version).alive

    def runs(self, version: VersionState) -> bool:
        """Whether it can be asked for an answer: others (systemd, a container) may run it, then it is not ours."""
        return self.is_alive(version) or any(is_open(address) for address in self.addresses(version))

    def addresses(self, version: VersionState) -> tuple[Address, ...]:
        """Where it listens, at least one."""
        return tuple(backend.address for backend in places(version, self.app.address, self.backends, self.look_up))

    def each(self, version: VersionState) -> list[tuple[VersionState, Address]]:
        """Its listeners and where they are: each process of ours under its own name, those of others under its own."""
        addresses = self.addresses(version)
        ones = (version,) * len(addresses) if self.is_run_by_others(version) else all_of(version)
        return list(zip(ones, addresses, strict=True))

    def place(self, version: VersionState) -> str:
        """Where it listens, for people."""
        first, *more = self.addresses(version)
        if more:
            return f"{first.spot} and {len(more)} more"
        return first.spot if self.is_run_by_others(version) or first.is_unix else f"port {version.port}"

    def is_run_by_others(self, version: VersionState) -> bool:
        """Whether its backends are named: it is gated and switched to then, and neither started nor stopped here."""
        return bool(listed(version, self.backends))

    def named_backends(self, version: VersionState) -> tuple[Address, ...]:
        """Where it listens when others run it; nothing for one that is run here."""
        return self.addresses(version) if self.is_run_by_others(version) else ()

    def check_is_run_here(self, version: VersionState) -> None:
        """Raises `ProcessError` for a version that others run."""
        if self.is_run_by_others(version):
            named = ", ".join(listed(version, self.backends))
            raise ProcessError(
                f"{version.name} is run by others, at {named}, and neither started nor stopped here",
                f"start it there, then {PROGRAM} switch {version.name}; or take [backends] {version.name} out",
            )

    def check_is_no_canary(self, state: BlueGreenState, name: str) -> None:
        """Raises `OperatorError` for a version that has a share of the requests."""
        if state.split is not None and state.split.canary == name:
            raise OperatorError(
                f"{name} has a share of the requests: a canary is under way",
                f"{PROGRAM} canary abort, or canary promote",
            )

    def check_spare(self, state: BlueGreenState, name: str) -> None:
        """Raises `OperatorError` for the standby while it has requests: all of them (`failover`), or a share."""
        self.check_is_no_canary(state, name)
        down = self.traffic.failover() if self.traffic is not None else None
        if down == state.active_version and down not in (None, name):
            raise OperatorError(
                f"{name} has the requests of {down}, which is down: without it none can be answered",
                f"{PROGRAM} switch {name}   # so that it is the active version, and {down} the one to replace",
            )

    @property
    def has_router(self) -> bool:
        """Whether a router runs, be its traffic seen or not."""
        return self.traffic is not None or bool(self.blind)

    def settle(self) -> BlueGreenState:
        """The state, corrected by what the processes are found to do; only for who holds the lock."""
        state = self.store.read_or_new()
        found = self.observed(state, is_settled=True)
        if found.pause != found.pause_at(self.now()):
            found = without_pause(found)
        if found.maintenance != found.maintenance_at(self.now()):
            found = without_maintenance(found)
        if found != state:
            self.store.write(found)
        else:
            self.store.keep_as_good()
        return found

    def observed(self, state: BlueGreenState, *, is_settled: bool = False) -> BlueGreenState:
        """The state with each version as it is found to be; nothing is written."""
        for name in VERSIONS:
            recorded = state.version(name)
            found = self.processes.find(recorded)
            actual = as_found(recorded, found, is_settled=is_settled)
            if actual.pid is not None and actual.pid != recorded.pid:
                actual = replace(actual, pid_birth=birth(actual.pid))
            if actual != recorded:
                state = put_version(state, actual)
        return state

    # --- recording ------------------------------------------------------------------------------------------

    def note(self, text: str, *, warns: bool = False) -> None:
        """Tell the operator something."""
        self.report(Noted(text, warns))

    def put(self, version: VersionState) -> None:
        """Record a version; only for who holds the lock."""
        self.store.write(put_version(self.store.read_or_new(), version))

    def restore_spec(self, before: VersionState) -> None:
        """After a start that failed: what is remembered about the version is again what last worked.

        A rollback to it must not start the release that has just failed.
        """
        version = self.store.read_or_new().version(before.name)  # nothing is written yet where the first start failed
        if before.started_with == version.started_with:
            return
        if before.record is None and before.status == "stopped" and before.started_at is None:
            self.put(started_with(version, before.started_with))  # it never ran, so how this start ended is news
            return
        gone = replace(before, status="stopped", pid=None, pid_birth=None, exit_status=None)
        self.put(replace(gone, instances=(), drained=()))

    # --- acting ---------------------------------------------------------------------------------------------

    def stop(self, version: VersionState) -> None:
        """End a version's processes and record that it is stopped."""
        found = {one: self.processes.find(one) for one in all_of(version)}
        pids = {one: it.pid for one, it in found.items() if it.alive and it.pid is not None}
        if pids:
            self.put(replace(version, status="stopping"))
            for one, pid in pids.items():
                self.report(Stopping(one.name, pid, self.app.stop_timeout))
            self.wait_for_workers()
        was_killed = self.end(version)
        ended = {one: self.processes.find(one).exit_status for one in found}
        exit_status = ended[next(iter(ended))]
        self.put(replace(version, status="stopped", exit_status=exit_status, instances=(), drained=()))
        for one, pid in pids.items():
            self.report(Stopped(one.name, pid, ended[one], was_killed and (len(pids) == 1 or ended[one] == -SIGKILL)))

    def end(self, version: VersionState) -> bool:
        """End what there is of a version's processes, in its own way; gives whether that took a SIGKILL.

        Nothing is recorded.
        """
        how = self.app.stop_timeout, version.stop_signal or self.app.stop_signal
        for stray in self.processes.strays(version):
            self.processes.stop(stray, *how)
        return self.processes.stop(version, *how)

    def wait_for_workers(self) -> None:
        """Wait until the router's workers act by the state as it is now; at once where no router runs."""
        if self.traffic is not None:
            self.drain_of(self.traffic).wait_for_workers(self.store.read().serial)

    def drain_of(self, traffic: Traffic, listeners: Mapping[str, Address] | None = None) -> Drain:
        """What waits for requests of that traffic, be it those of some listeners alone."""
        return Drain(traffic, self.report, self.clock, self.sleep, listeners or {})
