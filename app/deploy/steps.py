"""What a command can do to one deployment: look at it, record what is found, stop a version, wait for requests.

`app.deploy.run.actions` puts these together into the phases of the commands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.deploy.drain import Drain, OnTimeout
from app.deploy.events import Noted, ReceiptReady, Reporter, Stopped, Stopping
from app.deploy.judge.gate import Gate
from app.deploy.phases import Operation, Phase
from app.deploy.processes.process_table import Found
from app.deploy.processes.reconcile import as_found
from app.deploy.record.receipt import SwitchAccount
from app.deploy.traffic import Traffic
from app.errors import DrainTimedOut, OperatorError
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.deploy_settings import DeployConfig
from app.settings.tables.release_settings import ReleaseConfig
from app.state.model import (
    VERSIONS,
    BlueGreenState,
    Pause,
    VersionState,
    put_version,
    started_with,
    with_pause,
    without_maintenance,
    without_pause,
)
from app.state.process_birth import birth
from app.state.store import StateStore
from app.transport.loopback import port_is_open

if TYPE_CHECKING:
    from app.deploy.processes.launch import Launch
    from app.state.release import Release
    from app.state.releases import Releases

__all__ = ["ProcessTable", "Request", "Steps"]


class ProcessTable(Protocol):
    """What the steps need of `Processes`."""

    def log_path(self, name: str) -> Path: ...
    def find(self, version: VersionState) -> Found: ...
    def start(self, name: str, launch: Launch) -> int: ...
    def begin_restarts(self, version: VersionState) -> None: ...
    def stop(self, version: VersionState, timeout_s: float, stop_signal: str) -> bool: ...


class Request(NamedTuple):
    """One command, decided: what it does to which version.

    `leaving` is the version that loses its traffic or is to be stopped. `described` is the target as it is, or with
    `release`, which it is to be started with. `change` is what the phase SETTING makes of the state. `watch_s` is how
    long to watch the target after the switch.
    """

    operation: Operation
    target: str
    phases: tuple[Phase, ...]
    described: VersionState
    release: Release | None = None
    leaving: str | None = None
    force: bool = False
    on_timeout: OnTimeout = OnTimeout.FAIL
    watch_s: float = 0.0
    drain_timeout_s: float | None = None
    change: Callable[[BlueGreenState], BlueGreenState] = lambda state: state

    @property
    def launches(self) -> bool:
        """Whether the command starts a process, which is then its own to stop when it fails."""
        return Phase.LAUNCHING in self.phases


@dataclass(eq=False, repr=False)
class Steps:
    """Acts on the versions of one state file. `traffic` is None while no router runs; `now` is wall time.

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
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    log_begin: int = 0
    """Where the log of the process that was started last begins; before it are its predecessors' lines."""
    account: SwitchAccount | None = None
    """Opened by a switch."""
    own_pause: Pause | None = None
    """Made by this command, be it for a restart of the active version."""
    doubt: str = ""
    """What a watch has found against the new version and could not prove."""
    watched: Mapping[str, object] = field(default_factory=dict)
    """What a watch came to, for the history."""

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
        return self.is_alive(version) or port_is_open(version.port, self.app.address)

    def check_spare(self, state: BlueGreenState, name: str) -> None:
        """Raises `OperatorError` for the standby while it has the active version's requests (`failover`)."""
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
        self.put(replace(before, status="stopped", pid=None, pid_birth=None, exit_status=None))

    # --- acting ---------------------------------------------------------------------------------------------

    def stop(self, version: VersionState) -> None:
        """End a version's process and record that it is stopped."""
        found = self.processes.find(version)
        if found.alive and found.pid is not None:
            self.put(replace(version, status="stopping"))
            self.report(Stopping(version.name, found.pid, self.app.stop_timeout))
            if self.traffic is not None:
                drain = Drain(self.traffic, self.report, self.clock, self.sleep)
                drain.wait_for_workers(self.store.read().serial)
        was_killed = self.end(version)
        ended = self.processes.find(version)
        self.put(replace(version, status="stopped", exit_status=ended.exit_status))
        if found.alive and found.pid is not None:
            self.report(Stopped(version.name, found.pid, ended.exit_status, was_killed))

    def end(self, version: VersionState) -> bool:
        """End what there is of a version's processes, in its own way; gives whether that took a SIGKILL.

        Nothing is recorded.
        """
        return self.processes.stop(version, self.app.stop_timeout, version.stop_signal or self.app.stop_signal)

    def hold_requests(self, name: str) -> None:
        """Before the active version is stopped: let new requests wait for it, and those that it has come to their end.

        The former for as long as the router waits for a version that restarts by itself, unless the operator has
        paused already; the latter for half of that: what takes longer is the version's to finish. Whatever becomes
        of this command, a pause that is made here ends.
        """
        state = self.store.read()
        if self.traffic is None or not self.hold_timeout_s:
            self.note(f"{name} is active: requests fail until it is healthy again", warns=True)
            return
        if state.pause is None:
            state = with_pause(state, self.now(), self.hold_timeout_s)
            self.store.write(state)
            self.own_pause = state.pause
            self.note(f"{name} is active: new requests wait for it, at most {self.hold_timeout_s:g} s")
        Drain(self.traffic, self.report, self.clock, self.sleep).wait(
            [name], self.hold_timeout_s / 2, OnTimeout.PROCEED
        )

    def lift_own_pause(self) -> None:
        """End the pause that this command made, if it is still that one; only for who holds the lock."""
        if self.own_pause is None:
            return
        state = self.store.read()
        if state.pause == self.own_pause:
            self.store.write(without_pause(state))
        elif state.pause is not None:
            self.note("another command has paused in the meantime, and its pause stands", warns=True)
        self.own_pause = None

    def drain(
        self,
        names: Sequence[str],
        stands: str,
        on_timeout: OnTimeout = OnTimeout.FAIL,
        timeout_s: float | None = None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait for the requests of versions; `stands` says what holds should the time run out.

        `look` is called all the while, and ends the wait by raising.

        Raises `DrainTimedOut` then, unless `on_timeout` says otherwise; and `OperatorError` where the requests
        cannot be seen, for what cannot be seen must not be taken for nothing.
        """
        has = "has" if len(names) == 1 else "have"
        if self.blind:
            raise OperatorError(
                f"whether {' and '.join(names)} {has} requests in flight cannot be told: {self.blind}; {stands}",
                f"{ROUTER_PROGRAM} reload   # so that the router counts where this program looks",
            )
        if self.traffic is None:
            self.note(f"the router is not running, so {' and '.join(names)} {has} no requests to wait for")
            return
        drain = Drain(self.traffic, self.report, self.clock, self.sleep)
        outcome = drain.wait(names, self.drain_timeout_s if timeout_s is None else timeout_s, on_timeout, look)
        if self.account is not None:
            self.account.drain_s, self.account.remaining = outcome.duration_s, outcome.named
        if not outcome.is_complete and on_timeout is OnTimeout.FAIL:
            oldest = f" (oldest: {outcome.named[0]})" if outcome.named else ""
            raise DrainTimedOut(
                f"{' and '.join(names)} still {has} {_count(outcome.remaining)} in flight after "
                f"{outcome.duration_s:.0f} s{oldest}; {stands}",
                f"{PROGRAM} stop {names[0]} --force   # to cut them off" if len(names) == 1 else "",
            )

    def open_account(self) -> SwitchAccount | None:
        """The figures of this moment, which a receipt can begin from; None without a router."""
        return None if self.traffic is None else SwitchAccount.open(self.traffic, self.clock())

    def close_account(self) -> dict[str, object]:
        """Report the receipt, if a switch was made under a router; gives what the history keeps, also of a watch."""
        kept: dict[str, object] = {"watch": self.watched} if self.watched else {}
        if self.account is None:
            return kept
        receipt = self.account.close(self.clock())
        self.account = None
        if receipt is None:
            self.note("the router's metrics were begun anew in the meantime, so there is no receipt", warns=True)
            return kept
        self.report(ReceiptReady(receipt))
        return {"receipt": receipt.as_json(), **kept}


def _count(requests: int) -> str:
    return "1 request" if requests == 1 else f"{requests} requests"
