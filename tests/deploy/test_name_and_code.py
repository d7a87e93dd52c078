"""Whatever the order of link moves, settings, deploys, failures and rollbacks: name and code never differ."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.address import Address
from app.deploy.deployer import Deployer, Overrides
from app.deploy.deployment import Deployment
from app.deploy.judge.gate import Gate, GateVerdict
from app.deploy.processes.launch import Launch
from app.deploy.processes.process_table import Found
from app.deploy.record.history import History
from app.operator_errors import OperatorError
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.deploy_settings import DeployConfig
from app.state.model import VERSIONS, VersionState
from app.state.store import StateStore
from app.upstream.probe import ProbeResult


class Loaded:
    """Processes that read their code when they start, as real ones do, and live in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, tuple[str, Launch]] = {}
        self._pid = 100_000_000

    def log_path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def begin_restarts(self, version: VersionState) -> None:
        pass

    def strays(self, version: VersionState) -> list[VersionState]:
        return []

    def find(self, version: VersionState) -> Found:
        return Found(version.name in self.running, version.pid, 0)

    def start(self, name: str, launch: Launch) -> int:
        self.running[name] = ((launch.directory / launch.arguments[-1]).read_text(), launch)
        self._pid += 1
        return self._pid

    def stop(self, version: VersionState, timeout_s: float, stop_signal: str) -> bool:
        self.running.pop(version.name, None)
        return False


class Healthy(Gate):
    """Finds a version healthy unless it runs code that is not."""

    def __init__(self, processes: Loaded) -> None:
        self._processes = processes
        self.probe = lambda address, app: ProbeResult(True, 200, 1.0)  # for the time after a switch

    def wait(self, name: str, address: Address, is_alive: object) -> GateVerdict:
        return self.confirm(name, address)

    def confirm(self, name: str, address: Address) -> GateVerdict:
        loaded = self._processes.running.get(name)
        return GateVerdict(reason="broken" if loaded is None or loaded[0] in BROKEN else "", probes=())


BROKEN = frozenset({"r3", "r6"})
"""Releases that never get healthy."""

version_names = st.sampled_from(VERSIONS)


class NameAndCode(RuleBasedStateMachine):
    """One server. Code says which release it is; the settings' variable says when they were written."""

    @initialize(is_linked=st.booleans())
    def begin(self, is_linked: bool) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.is_linked = is_linked
        self.store = StateStore(self.home / "state" / "bg_state.json")
        self.store.folder.mkdir()
        self.processes = Loaded(self.home)
        self.count = self.edits = 0
        self.began: dict[str, tuple[str | None, str]] = {}
        self.app = AppConfig(command="cat module.py", dir=str(self.home / "current"), stop_timeout=0)
        self.bring()

    def bring(self) -> None:
        """A release comes onto the machine: into a directory of its own, or over the one before."""
        self.count += 1
        if self.is_linked:
            folder = self.home / f"r{self.count}"
            folder.mkdir()
            with contextlib.suppress(FileNotFoundError):
                (self.home / "current").unlink()
            (self.home / "current").symlink_to(folder)
        else:
            folder = self.home / "current"
            folder.mkdir(exist_ok=True)
        (folder / "module.py").write_text(f"r{self.count}")

    def deployer(self) -> Deployer:
        deployment = Deployment(
            store=self.store,
            processes=self.processes,
            app=self.app,
            gate=Healthy(self.processes),
            traffic=None,
            report=lambda event: None,
            drain_timeout_s=0,
            deploy=DeployConfig(),
            environ={"PATH": "/usr/bin:/bin", "SHELL_OF": str(self.edits)},
        )
        return Deployer(deployment, History(self.store.folder / "history.jsonl"), "test", 1.0)

    def attempt(self, act: object) -> None:
        """Carry out a command; a refusal is an answer."""
        with contextlib.suppress(OperatorError):
            act()  # type: ignore[operator]  # a command

    # --- what happens ---------------------------------------------------------------------------------------

    @rule()
    def a_release_comes(self) -> None:
        self.bring()

    @rule(number=st.integers(1, 8))
    def the_link_is_moved(self, number: int) -> None:
        folder = self.home / f"r{number}"
        if self.is_linked and folder.exists():
            (self.home / "current").unlink()
            (self.home / "current").symlink_to(folder)

    @rule(number=st.integers(1, 8))
    def a_release_is_pruned(self, number: int) -> None:
        if self.is_linked and (self.home / "current").resolve() != self.home / f"r{number}":
            shutil.rmtree(self.home / f"r{number}", ignore_errors=True)

    @rule()
    def the_settings_change(self) -> None:
        self.edits += 1
        self.app = replace(self.app, env={"EDIT": str(self.edits)})

    @rule(stop_old=st.booleans())
    def deploy(self, stop_old: bool) -> None:
        name = (self.home / "current" / "module.py").read_text()
        self.attempt(lambda: self.deployer().deploy(Overrides(release=name), stop_old=stop_old))

    @rule(to=st.none() | st.integers(1, 20))
    def rollback(self, to: int | None) -> None:
        self.attempt(lambda: self.deployer().rollback(to))

    @rule(name=version_names, reconfigured=st.booleans())
    def restart(self, name: str, reconfigured: bool) -> None:
        if self.store.read_or_new().version(name).release is not None:
            self.attempt(lambda: self.deployer().restart(name, reconfigured=reconfigured))

    @rule(name=version_names)
    def start(self, name: str) -> None:
        if self.store.read_or_new().version(name).release is not None:
            self.attempt(lambda: self.deployer().start(name))

    @rule(name=version_names)
    def stop(self, name: str) -> None:
        self.attempt(lambda: self.deployer().stop(name, force=True))

    @rule(name=version_names)
    def crash(self, name: str) -> None:
        self.processes.running.pop(name, None)

    # --- what must be so ------------------------------------------------------------------------------------

    @invariant()
    def name_and_code_are_one(self) -> None:
        state = self.store.read_or_new()
        for name, (code, launch) in self.processes.running.items():
            version = state.version(name)
            assert version.release == code == launch.environment["BG_RELEASE"]
            assert version.directory == str(launch.directory)

    @invariant()
    def one_record_is_one_environment(self) -> None:
        """What is started again from a record has the very environment of the first time."""
        state = self.store.read_or_new()
        for name, (_, launch) in self.processes.running.items():
            record = str(state.version(name).record)
            environment = {key: launch.environment.get(key) for key in ("EDIT", "SHELL_OF")}
            assert self.began.setdefault(record, (str(environment), "")) == (str(environment), "")

    def teardown(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


TestNameAndCode = NameAndCode.TestCase
TestNameAndCode.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
