"""Some nodes of a fleet on one machine: each with its folder, settings, router, agent and releases of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.deploy.shop import CODE
from tests.support.environment import own_environment
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until

__all__ = ["FleetNode", "Visitors", "fleet_nodes"]


class FleetNode:
    """One node; `agent` and `router` are its processes."""

    def __init__(self, folder: Path, name: str, endpoint: str) -> None:
        self.name, self.home = name, folder / name
        self.port, self.blue, self.green = free_port(), free_port(), free_port()
        self.environ = {**own_environment(), "TRAFFIC_ROUTER_HOME": str(self.home), "TRAFFIC_ROUTER_PURE": "1"}
        self.agent: subprocess.Popen[bytes] | None = None
        self.router: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True)
        (self.home / "traffic_router.toml").write_text(f'''
main_port = {self.port}
bind = "127.0.0.1"
workers = 1
[app]
command = "{sys.executable} -I -S app.py {{port}}"
blue_port = {self.blue}
green_port = {self.green}
healthy_after = 1
start_timeout = 5
[release]
dir = "{self.home}/releases/{{release}}"
[fleet]
name = "shop"
node = "{name}"
endpoints = ["{endpoint}"]
''')

    def release(self, name: str, *, is_broken: bool = False) -> None:
        """Bring a release onto the machine; a broken one ends at its start, with a word in its log."""
        folder = self.home / "releases" / name
        folder.mkdir(parents=True, exist_ok=True)
        code = CODE.replace("{code}", name)
        (folder / "app.py").write_text("raise SystemExit('no such table: orders')" if is_broken else code)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command, as it is typed on this machine."""
        return subprocess.run(
            self._command(*words), env=self.environ, cwd=ROOT, capture_output=True, text=True, timeout=90
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self._command(*words), env=self.environ, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

    def start_agent(self) -> None:
        self.agent = self._process("agent.log", ROOT, *self._command("agent"))

    def start_router(self) -> None:
        self.router = self._process(
            "router.log", self.home, sys.executable, "-m", "gunicorn", "-c", f"{ROOT}/gunicorn.conf.py", "app:wsgi"
        )
        wait_until(self.answers, f"{self.name}'s router answers", 30)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.served())
        return False

    def served(self) -> str:
        """The release that answers; raises OSError when none does."""
        with urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            return str(json.load(answer)["CODE"])

    def state(self) -> dict[str, Any]:
        """Its state file."""
        found: dict[str, Any] = json.loads((self.home / ".local_context" / "bg_state.json").read_text())
        return found

    def standby(self) -> dict[str, Any]:
        """What the state file has of the version that is not active."""
        state = self.state()
        found: dict[str, Any] = state["versions"]["green" if state["active_version"] == "blue" else "blue"]
        return found

    def kill_agent(self) -> None:
        """kill -9."""
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait(10)
            self.agent = None

    def stop_agent(self) -> None:
        """End it well: the node leaves the fleet at once."""
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait(20)
            self.agent = None

    def stop(self) -> None:
        self.kill_agent()
        if self.router is not None:
            self.router.terminate()
            self.router.wait(20)
        for version in ("blue", "green"):
            self.run("stop", version, "--force")

    def log(self) -> str:
        return (self.home / "agent.log").read_text()

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "app.cli.blue_green_deploy", *words]

    def _process(self, log: str, folder: Path, *command: str) -> subprocess.Popen[bytes]:
        with open(self.home / log, "ab") as file:
            return subprocess.Popen(
                command, env=self.environ, cwd=folder, stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )


@contextlib.contextmanager
def fleet_nodes(folder: Path, endpoint: str, count: int = 3) -> Iterator[list[FleetNode]]:
    """So many nodes, n1, n2 and so on, that serve the release r1 and have joined the fleet."""
    nodes = [FleetNode(folder, f"n{number}", endpoint) for number in range(1, count + 1)]
    with contextlib.ExitStack() as stack:
        for node in nodes:
            stack.callback(node.stop)
            node.release("r1")
            begun = node.run("start", "blue", "--release=r1")
            assert begun.returncode == 0, begun.stderr
            node.start_router()
            node.start_agent()
        wait_until(lambda: len(status_of(nodes[0])["nodes"]) == count, "all have joined", 60)
        yield nodes


def status_of(node: FleetNode) -> dict[str, Any]:
    """`fleet status --json`."""
    done = node.run("fleet", "status", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Visitors:
    """A client for each node that asks all the time, and keeps what it was answered."""

    def __init__(self, nodes: list[FleetNode]) -> None:
        self._nodes = nodes
        self.answers: dict[str, list[str]] = {node.name: [] for node in nodes}
        self.failures: list[str] = []
        self._stops = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(node,)) for node in nodes]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, node: FleetNode) -> None:
        while not self._stops.wait(0.01):
            try:
                self.answers[node.name].append(node.served())
            except (OSError, ValueError, KeyError) as error:
                self.failures.append(f"{node.name}: {error}")
