"""The deployment that is soaked: a folder of its own, the router and both versions, run by the real commands."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import psutil

from tests.soak.application import LEDGER_NAME, OVERRUNS_NAME
from tests.soak.layout import Layout
from tests.support.environment import own_environment
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until
from utils.monitoring import MetricsCollector

__all__ = ["VERSIONS", "CommandFailed", "Instance", "Site"]

VERSIONS = ("blue", "green")
COMMAND_DEADLINE_S = 90.0
WELL_DEADLINE_S = 30.0

SETTINGS = """\
main_port = {port}
bind = "127.0.0.1"
workers = {workers}
# So that workers are replaced by age in the midst of all the rest.
max_requests = 2000
access_log = ".local_context/access.jsonl"
# Far above what an application takes to start again on a busy machine: until then its requests wait.
hold_timeout = 30
# Below it, all that is long must be over: the clients' slowest answers take three or four seconds.
drain_timeout = 20
graceful_timeout = 12
handover_window = 2

[app]
command = "{python} -m tests.soak.application {{port}} {{release}}"
dir = "{root}"
env = {{ SOAK_FOLDER = "{folder}", SOAK_LIMIT = "{limit}" }}
"""


class CommandFailed(Exception):
    """A command that should have succeeded did not."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process that has been stopped (SIGSTOP), and what it has in flight and lets wait for ever."""

    pid: int
    in_flight: int
    held: int


class Instance(NamedTuple):
    """One process of a version; `pid` is None while it does not live."""

    number: int
    pid: int | None
    is_well: bool
    is_drained: bool

    @property
    def serves(self) -> bool:
        """Whether it lives and gets requests."""
        return self.pid is not None and not self.is_drained


class Site:
    """One deployment. `folder` gets everything that is written; `close` ends everything that runs.

    `settings` is its traffic_router.toml, with the places that `SETTINGS` has; `layout` adds to it.
    """

    def __init__(self, folder: Path, workers: int, settings: str = SETTINGS, layout: Layout | None = None) -> None:
        self._settings = settings
        self.layout = layout or Layout()
        self.folder = folder
        self.context = folder / ".local_context"
        self.ledger = folder / LEDGER_NAME
        self.overruns = folder / OVERRUNS_NAME
        self.access_log = self.context / "access.jsonl"
        self.port = free_port()
        self._workers = workers
        self._environment = own_environment()
        self._environment.pop("PORT", None)
        self._environment["TRAFFIC_ROUTER_HOME"] = str(folder)
        self._output = (folder / "commands.log").open("a")

    # --- commands --------------------------------------------------------------------------------------------

    def begin(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a command; what it prints goes to `commands.log`."""
        self._note(program, *arguments)
        return subprocess.Popen(
            [sys.executable, str(ROOT / "bin" / program), *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            text=True,
        )

    def end(self, process: subprocess.Popen[str], *command: str, allowed: tuple[int, ...] = (0,)) -> None:
        """Wait for a command's end; raises `CommandFailed` for another exit code than those, or none in time."""
        try:
            code: int | str = process.wait(COMMAND_DEADLINE_S)
        except subprocess.TimeoutExpired:
            code = f"nothing after {COMMAND_DEADLINE_S:g} s"
        finally:
            process.kill()
            process.wait()
        if code not in allowed:
            raise CommandFailed(f"{' '.join(command)}: {code}")

    def run(self, program: str, *arguments: str) -> None:
        """Run a command to its end."""
        self.end(self.begin(program, *arguments), program, *arguments)

    def deploy(self, *arguments: str) -> None:
        """Run `blue_green_deploy`."""
        self.run("blue_green_deploy", *arguments)

    def router(self, *arguments: str) -> None:
        """Run `traffic_router`."""
        self.run("traffic_router", *arguments)

    def asked(self, *arguments: str) -> Any:
        """What `blue_green_deploy ARGUMENTS --json` prints."""
        code, said = self.said("blue_green_deploy", *arguments, "--json")
        try:
            return json.loads(said)
        except ValueError as error:
            raise CommandFailed(f"{' '.join(arguments)}: {code} {said}") from error

    def said(self, program: str, *arguments: str) -> tuple[int, str]:
        """Run a command to its end; its exit code, and what it prints."""
        self._note(program, *arguments)
        done = subprocess.run(
            [sys.executable, str(ROOT / "bin" / program), *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_DEADLINE_S,
        )
        self._output.write(done.stdout)
        return done.returncode, done.stdout

    def _note(self, program: str, *arguments: str) -> None:
        self._output.write(f"\n[{time.monotonic():.3f}] $ {program} {' '.join(arguments)}\n")
        self._output.flush()

    # --- life ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start both versions; the router is started by the script."""
        settings = self.layout.complete(self._settings).format(
            port=self.port,
            workers=self._workers,
            python=sys.executable,
            root=ROOT,
            folder=self.folder,
            limit=self.layout.max_in_flight,
        )
        (self.folder / "traffic_router.toml").write_text(settings)
        self.context.mkdir()
        versions = {name: {"port": port} for name, port in self.layout.ports(VERSIONS, self.port).items()}
        self.state_file.write_text(json.dumps({"active_version": None, "versions": versions}))
        for name in VERSIONS:
            self.deploy("start", name, f"--release={name}")

    def close(self) -> None:
        """End all that was started, gently first; what has hung is killed."""
        for end in (["traffic_router", "stop"], *(["blue_green_deploy", "stop", name, "--force"] for name in VERSIONS)):
            with suppress(CommandFailed):
                self.run(*end)
        for process in psutil.wait_procs(self.processes(), timeout=10)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._output.close()

    def processes(self) -> list[psutil.Process]:
        """Everything of this deployment that runs, and nothing else: its environment names our folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                if str(self.folder) in (environment.get("TRAFFIC_ROUTER_HOME"), environment.get("SOAK_FOLDER")):
                    found.append(process)
        return found

    # --- looking ---------------------------------------------------------------------------------------------

    @property
    def state_file(self) -> Path:
        """The documented state file."""
        return self.context / "bg_state.json"

    def noted(self, path: Path) -> Mapping[str, Any]:
        """A JSON file's object; empty when there is none."""
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
            return found
        except (FileNotFoundError, ValueError):
            return {}

    @property
    def active(self) -> str:
        """The version that the state file names."""
        return str(self.noted(self.state_file)["active_version"])

    @property
    def standby(self) -> str:
        """The other one."""
        return VERSIONS[self.active == VERSIONS[0]]

    def pid_of(self, version: str) -> int | None:
        """The pid of a version's process, as the state file has it."""
        pid: int | None = self.noted(self.state_file).get("versions", {}).get(version, {}).get("pid")
        return pid

    def instances_of(self, version: str) -> list[Instance]:
        """The processes of a version, as `status` has them: one that has several, or listens on sockets."""
        found = self.asked("status")["versions"][version]
        return [
            Instance(one["number"], one["pid"] if one["alive"] else None, bool(one["ok"]), one["drained"])
            for one in found.get("instances", [])
        ] or [Instance(1, found["pid"], found["status"] == "running", False)]

    def wait_until_well(self, version: str) -> None:
        """Until all processes of a version are; raises `CommandFailed` when they do not become that in time."""
        try:
            wait_until(lambda: all(one.is_well for one in self.instances_of(version)), "", WELL_DEADLINE_S)
        except AssertionError as error:
            found = self.instances_of(version)
            raise CommandFailed(f"not all processes of {version} became well in time: {found}") from error

    def has_no_end(self, pid: int) -> bool:
        """Whether the history has a command of that process without an outcome."""
        lines = [json.loads(line) for line in (self.context / "history.jsonl").read_text().splitlines()]
        ended = {line["id"] for line in lines if line.get("outcome")}
        return any(line["id"] not in ended for line in lines if line.get("pid") == pid)

    @property
    def router_pid(self) -> int | None:
        """The pid of the router's master, as its pid file has it."""
        pid: int | None = self.noted(self.context / "router.json").get("pid")
        return pid

    def metrics(self) -> MetricsCollector:
        """A reader of the router's metrics file."""
        return MetricsCollector(self.context / "router_metrics.mmap")

    def stop_worker(self, random: Random) -> Worker:
        """Stop one of the workers, and tell what it has in its hands."""
        with self.metrics() as metrics:

            def workers() -> dict[int, Worker]:
                found = metrics.snapshot().workers
                return {each.pid: Worker(each.pid, each.in_flight, each.held + each.queued) for each in found}

            def stopped() -> list[Worker]:
                """One of them; none when there are none, or it has just ended by itself."""
                with suppress(IndexError, psutil.NoSuchProcess):
                    pid = random.choice(sorted(workers()))
                    _suspend(pid)
                    return [workers()[pid]]
                return []

            return wait_until(stopped, "a worker", 60)[0]


def _suspend(pid: int) -> None:
    process = psutil.Process(pid)
    process.suspend()
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "the worker to stop")
