"""One `blue_green_deploy` command as it was typed: its options, the settings, and everything that acts on them."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from app.cli.deploy_traffic import open_traffic
from app.cli.entry import Arguments
from app.command_line import PROGRAM
from app.deploy.deployer import LOCK_WAIT_S, Deployer, Overrides
from app.deploy.deployment import Deployment
from app.deploy.drain import OnTimeout
from app.deploy.events import Reporter
from app.deploy.judge.gate import Gate
from app.deploy.processes.process_table import Processes
from app.deploy.record.history import History
from app.event_file import EventFile
from app.operator_errors import StateError, StateMissing, UsageError
from app.settings.loading import Loaded
from app.settings.tables.canary_settings import CanaryConfig
from app.settings.tables.router_settings import RouterConfig
from app.state.instances import name_of, number_of
from app.state.model import BlueGreenState, VersionState, check_version
from app.state.store import StateStore
from app.transport.loopback import is_open
from app.upstream.probe import probe

if TYPE_CHECKING:
    from app.cli.deploy_views import Checked
    from app.cli.router_process import RunningRouter
    from app.deploy.modes import Modes
    from app.deploy.processes.foreground import ForegroundProcesses
    from app.deploy.pruning import Pruned
    from app.deploy.traffic import Traffic

__all__ = ["Call", "help_command"]


def help_command() -> str:
    """What lists the commands and their options."""
    return f"{PROGRAM} --help"


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Call:
    """One command as it was typed, with the settings in effect and everything that acts on them."""

    def __init__(self, arguments: Arguments, loaded: Loaded, command: str, printer: Reporter) -> None:
        self._arguments = arguments
        self.config, self.app, self.release, self.fleet = loaded.config, loaded.app, loaded.release, loaded.fleet
        self.canary = loaded.of(CanaryConfig)
        self.store = StateStore(self.config.state_file, self.app.ports)
        self.processes: Processes = self.foreground if arguments["run"] else Processes(self.store.folder)
        self.history = History(self.store.folder / "history.jsonl")
        self.events = EventFile(self.store.folder / "events.jsonl")
        self.traffic, blind = _traffic_seen(self.config)
        self.deployment = Deployment(
            store=self.store,
            processes=self.processes,
            app=self.app,
            gate=Gate(self.app, printer),
            traffic=self.traffic,
            report=printer,
            drain_timeout_s=self.config.drain_timeout,
            hold_timeout_s=self.config.hold.hold_timeout,
            blind=blind,
            deploy=loaded.deploy,
            release=loaded.release,
            backends=loaded.backends,
            main_port=self.config.main_port,
        )
        self._command = command
        self.deployer = Deployer(self.deployment, self.history, command)

    @cached_property
    def foreground(self) -> ForegroundProcesses:
        """The processes of `run`."""
        from app.deploy.processes.foreground import ForegroundProcesses

        return ForegroundProcesses(self.store.folder)

    @cached_property
    def modes(self) -> Modes:
        """What pauses, resumes, maintains and previews."""
        from app.deploy.modes import Modes

        return Modes(self.deployment, self.history, self._command, LOCK_WAIT_S)

    def prune(self, keep: int, *, dry_run: bool = False) -> Pruned:
        """Remove old releases."""
        from app.deploy.pruning import prune
        from app.deploy.run.execution import Execution

        execution = Execution(self.deployment, self.history, self._command, LOCK_WAIT_S)
        return prune(self.deployment, self.history, execution, keep, dry_run=dry_run)

    def flag(self, name: str) -> bool:
        return bool(self._arguments[name])

    def text(self, name: str) -> str | None:
        value = self._arguments[name]
        return value if isinstance(value, str) else None

    def version(self) -> str:
        """The version that was named; raises `UsageError` when it is none."""
        return check_version(self.text("VERSION") or "")

    def process(self) -> str:
        """The name of a process of the version that was named: "blue" its first one, "blue.2"; raises `UsageError`."""
        text = self.text("VERSION") or ""
        version, number = number_of(text)
        return name_of(check_version(version if name_of(version, number) == text else text), number)

    def overrides(self) -> Overrides:
        return Overrides(self.text("--release"), self.text("--dir"), self.text("--command"), self.flag("--demo"))

    def count(self, name: str) -> int:
        """An option's whole number; raises `UsageError` for what is none."""
        text = self.text(name) or ""
        if not text.isdecimal():
            raise UsageError(f"{name}={text}: expected a whole number from 0 up", help_command())
        return int(text)

    def seconds(self, name: str, low: float, high: float) -> float:
        """An option's seconds, as 90, 90s, 15m, 1h or 2d; raises `UsageError` for what is none, or out of range."""
        text = self.text(name) or ""
        number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
        try:
            value = float(number) * _UNITS_S[unit]
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise UsageError(f"{name}={text}: expected a number of seconds from {low:g} to {high:.0f}", help_command())
        return value

    def texts(self, name: str) -> list[str]:
        """The texts of an option that can be given several times, or once with commas."""
        value: object = self._arguments[name]
        given = value if isinstance(value, list) else [value] if value else []
        return [part for text in given for part in str(text).replace(",", " ").split()]

    def on_timeout(self) -> OnTimeout:
        """What is to happen at the end of a drain's time; raises `UsageError` for what is not known."""
        text = self.text("--on-timeout") or ""
        if text not in set(OnTimeout):
            raise UsageError(f"--on-timeout={text}: expected {', '.join(OnTimeout)}", help_command())
        return OnTimeout(text)

    def observed(self) -> BlueGreenState:
        """The state as it really is now; nothing is written."""
        return self.deployment.observed(self.store.read_or_new())

    def known(self) -> tuple[BlueGreenState, StateError | None]:
        """The state as it really is now; else, and then why, by the last good one. Raises `StateError` without any."""
        try:
            return self.deployment.observed(self.store.read()), None
        except StateError as error:
            if (last := self.store.last_good()) is not None:
                return self.deployment.observed(last), error
            if not isinstance(error, StateMissing):
                raise
            return self.observed(), None

    def environments(self, state: BlueGreenState) -> dict[str, str | None]:
        """The digest of the environment that each version was started with, where we may read its record."""
        found = {}
        for version in state.versions.values():
            with suppress(StateError):
                if version.record is not None:
                    found[version.name] = self.deployment.releases.digest(self.deployment.releases.read(version.record))
        return found

    def router(self) -> RunningRouter | None:
        """The router that runs for this deployment."""
        from app.cli.router_process import find_router  # takes its time

        return find_router(self.config)

    def checks(self, state: BlueGreenState) -> dict[str, Checked]:
        """A health check of the active version and of every one that listens."""
        return {
            version.name: self.check(version)
            for version in state.versions.values()
            if version == state.active or any(map(is_open, self.deployment.addresses(version)))
        }

    def check(self, version: VersionState) -> Checked:
        """A health check of each backend of a version."""
        return {address: probe(address, self.app) for address in self.deployment.addresses(version)}


def _traffic_seen(config: RouterConfig) -> tuple[Traffic | None, str]:
    """The traffic of the router; None where none runs, or, and then why, where that of a running one cannot be seen."""
    traffic = open_traffic(config)
    # The second question spares the imports, which take as long as a switch.
    if traffic is not None or not os.path.exists(config.pid_path):
        return traffic, ""
    from app.cli.health_view import read_health
    from app.cli.router_client import RouterClient
    from app.cli.router_process import find_router

    router = find_router(config)
    if router is None:
        return None, ""
    health = read_health(RouterClient(config, router.port))
    # All its workers may have been killed in one moment: now that one has answered, it counts.
    traffic = open_traffic(config)
    if traffic is not None:
        return traffic, ""
    fault = (health.get("metrics") or {}).get("fault") or "the metrics there are not those of this program"
    return None, f"the router (pid {router.pid}) does not count in {config.metrics_path}: {fault}"
