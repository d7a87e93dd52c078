"""A deployment in a temporary folder: real processes on free ports, events collected, everything reaped."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from app.address import Address
from app.canary.outcomes import Pair
from app.deploy.deployer import Deployer
from app.deploy.deployment import Deployment
from app.deploy.events import Event
from app.deploy.judge.gate import Gate
from app.deploy.modes import Modes
from app.deploy.processes.process_table import Processes
from app.deploy.record.history import History
from app.deploy.traffic import Tally, Traffic, TrafficSample
from app.facts import Recent
from app.metrics.backend_rows import BackendRow
from app.metrics.snapshot import CutRequest
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.deploy_settings import DeployConfig
from app.state.model import VERSIONS, BlueGreenState, VersionState
from app.state.store import StateStore
from tests.support.router_process import free_port

TINY_APP = Path(__file__).with_name("tiny_app.py")

COMMAND = f"{shlex.quote(sys.executable)} -I -S {shlex.quote(str(TINY_APP))} {{port}}"

E = TypeVar("E")


@dataclass
class Row:
    method: str
    path: str
    age_s: float
    request_id: str = ""


QUIET = Tally(ended=0, in_flight=0, cut=0, failed=0, held=0, held_ms=0.0, retried=0)


def _next(left: list[E]) -> E:
    """The next of a script's values; the last one stays."""
    return left.pop(0) if len(left) > 1 else left[0]


@dataclass
class FakeTraffic:
    """Requests in flight as a script: each look at a version takes the next figure, the last one stays.

    The books look three times at the counts: before a switch, after it, and at the end.
    """

    looks: dict[str, list[int]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    counts: dict[str, list[Tally]] = field(default_factory=dict)
    cut: list[list[CutRequest]] = field(default_factory=lambda: [[]])
    conducts: dict[str, list[TrafficSample]] = field(default_factory=dict)
    down: str | None = None
    used: list[bool] = field(default_factory=lambda: [True])
    known: list[bool] = field(default_factory=lambda: [True])
    outcomes: list[Pair] = field(default_factory=lambda: [Pair()])
    asked: list[int] = field(default_factory=list)
    """The serials of states that workers were waited for to know."""

    def in_flight(self, version: str) -> int:
        return _next(self.looks.get(version, [0]))

    def backends(self, version: str, addresses: Sequence[Address]) -> Sequence[BackendRow]:
        """Nothing has gone to any of them."""
        return [BackendRow(str(address), "ok", "", 0, 0, 0, 0.0) for address in addresses]

    def in_flight_on(self, version: str, addresses: Sequence[Address]) -> int:
        """Those of an address are in the script under its text."""
        return sum(_next(self.looks.get(str(address), [0])) for address in addresses)

    def uses(self, version: str, address: Address) -> bool:
        return _next(self.used)

    def in_flight_rows(self, version: str) -> Sequence[Row]:
        return self.rows

    def held(self) -> int:
        return 0

    def is_state_known(self, serial: int) -> bool:
        self.asked.append(serial)
        return _next(self.known)

    def failover(self) -> str | None:
        return self.down

    def tallies(self) -> dict[str, Tally]:
        return {name: _next(self.counts.get(name, [QUIET])) for name in VERSIONS}

    def cuts(self) -> list[CutRequest]:
        return _next(self.cut)

    def recent(self, version: str, lived_s: float | None) -> Recent:
        return Recent()

    def pace(self, version: str) -> tuple[float, float] | None:
        return 20.0, 90.0

    def shared_out(self, canary: str, *, by_client: bool) -> Pair:
        return _next(self.outcomes)

    def clients_of(self, canary: str) -> int:
        return 8

    def conduct(self, version: str, seconds: int) -> TrafficSample:
        return _next(self.conducts.get(version, [TrafficSample(0, 0, None)]))


class Rehearsal:
    """Everything a deploy command works with, for one state file in `folder`."""

    def __init__(self, folder: Path, traffic: Traffic | None = None, **app: object) -> None:
        self.home = folder
        self.store = StateStore(folder / "state" / "bg_state.json")
        self.processes = Processes(self.store.folder)
        self.events: list[Event] = []
        self.ports = {name: free_port() for name in VERSIONS}
        self.traffic = traffic
        self.deploy_config = DeployConfig()
        self.history = History(self.store.folder / "history.jsonl")
        for name in VERSIONS:  # a directory for each, so that one release does not overwrite the other
            (folder / name).mkdir()
        settings: dict[str, object] = {"command": COMMAND, "dir": str(folder / "{version}"), "start_timeout": 10, **app}
        self.app = AppConfig(**settings)  # type: ignore[arg-type]  # tests give fields by name
        versions = {name: {"port": port} for name, port in self.ports.items()}
        self.store.folder.mkdir()
        self.store.path.write_text(json.dumps({"active_version": None, "versions": versions}))

    def deployer(self, command: str = "test", drain_timeout_s: float = 5.0, lock_wait_s: float = 10.0) -> Deployer:
        return Deployer(self.deployment(drain_timeout_s), self.history, command, lock_wait_s)

    def modes(self, command: str = "test", drain_timeout_s: float = 5.0) -> Modes:
        return Modes(self.deployment(drain_timeout_s), self.history, command, 10.0)

    def deployment(self, drain_timeout_s: float = 5.0) -> Deployment:
        return Deployment(
            store=self.store,
            processes=self.processes,
            app=self.app,
            gate=Gate(self.app, self.events.append, sleep=lambda pause_s: time.sleep(pause_s / 10)),
            traffic=self.traffic,
            report=self.events.append,
            drain_timeout_s=drain_timeout_s,
            hold_timeout_s=5.0,
            deploy=self.deploy_config,
        )

    @property
    def state(self) -> BlueGreenState:
        return self.store.read()

    def version(self, name: str) -> VersionState:
        return self.state.version(name)

    def seen(self, kind: type[E]) -> list[E]:
        """The events of one class so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(entry.operation, entry.outcome) for entry in self.history.entries()]

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a version's process a signal behind the deployer's back."""
        pid = self.version(name).pid
        assert pid is not None
        os.kill(pid, number)

    def close(self) -> None:
        for version in self.store.read_or_new().versions.values():
            for one in (version, *self.processes.strays(version)):
                self.processes.stop(one, 0)
