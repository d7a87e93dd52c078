"""The real router as a child process: `gunicorn -c gunicorn.conf.py app:wsgi` from the project's root."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.support.environment import own_environment
from tests.support.raw_client import RawClient, Response
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 15.0
LANES = 16

Settings = dict[str, Any]
"""RouterConfig fields by name, of whatever types they have."""


@functools.cache
def _ports() -> Iterator[int]:
    """Ports that this process may try, in any order; each of pytest-xdist's processes has its own."""
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % LANES
    ports = list(range(15_000 + lane, 32_000, LANES))
    random.SystemRandom().shuffle(ports)
    return itertools.cycle(ports)


def free_port() -> int:
    """A loopback port that nobody listens on, below those that the kernel gives to outgoing connections.

    From among those a port may be taken before it is used; and a client that tries one on which nobody listens yet
    can be given that very port for its own end, and is then connected with itself.
    """
    while True:
        port = next(_ports())
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


class RouterProcess:
    """A running router: its port, processes, state file and logs."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.port = port
        self.process = process
        self.state_file = folder / "bg_state.json"
        self.access_log_file = folder / "access.jsonl"
        self.log_file = folder / "router.log"

    @property
    def master_pid(self) -> int:
        """The pid of gunicorn's master."""
        return self.process.pid

    @property
    def worker_pids(self) -> list[int]:
        """The pids of the workers that run now."""
        pids = []
        for child in psutil.Process(self.master_pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # gone since it was listed
                if child.status() != psutil.STATUS_ZOMBIE:
                    pids.append(child.pid)
        return pids

    @property
    def log(self) -> str:
        """What the router printed so far."""
        return self.log_file.read_text(errors="replace")

    def memory_bytes(self) -> int:
        """Resident memory of all workers together."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.worker_pids)

    def connect(self, *, source: str = "127.0.0.1", rcvbuf: int = 0) -> RawClient:
        """A new raw connection to the router."""
        return RawClient(self.port, source=source, rcvbuf=rcvbuf)

    def ask(self, *parts: bytes) -> Response:
        """One request on a connection of its own."""
        with self.connect() as client:
            return client.ask(*parts)

    def metrics(self) -> dict[str, Any]:
        """The JSON of the metrics endpoint."""
        found: dict[str, Any] = json.loads(self.ask(b"GET /__router_metrics HTTP/1.1\r\nHost: r\r\n\r\n").body)
        return found

    def access_log(self) -> list[dict[str, object]]:
        """The access log's complete lines, oldest first."""
        if not self.access_log_file.exists():
            return []
        text = self.access_log_file.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def logged(self, condition: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        """Wait for the first access log entry that fulfils the condition."""

        def matching() -> list[dict[str, object]]:
            return [entry for entry in self.access_log() if condition(entry)]

        return wait_until(matching, f"access log entry; log: {self.access_log()}")[0]

    def set_state(self, active: str | None, **ports: int) -> None:
        """Replace the state file as the deploy commands do: temp file beside it, then rename."""
        write_state(self.state_file, active, **ports)

    def reload(self) -> None:
        """Send HUP to the master, as `systemctl reload` does."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """End gracefully (TERM), by force when it does not end; returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait(STOP_DEADLINE_S)


def write_state(path: Path, active: str | None, **ports: int) -> None:
    """Write a hand-made state file atomically; `ports` maps version names to ports."""
    state = {"active_version": active, "versions": {name: {"port": port} for name, port in ports.items()}}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(state))
    temporary.replace(path)


def start_router(
    folder: Path,
    upstream_port: int,
    settings: Mapping[str, object],
    *,
    arguments: tuple[str, ...] = (),
    root: Path = ROOT,
) -> RouterProcess:
    """Start a router whose active version, blue, is on `upstream_port`, and wait until it answers.

    `settings` are RouterConfig fields; `arguments` go to gunicorn's command line; `root` is the project to run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = int(str(settings.get("main_port") or free_port()))
    write_state(folder / "bg_state.json", "blue", blue=upstream_port)
    fields: dict[str, object] = {
        "main_port": port,
        "bind": "127.0.0.1",
        "workers": 1,
        "state_file": folder / "bg_state.json",
        "metrics_file": folder / "router_metrics.mmap",
        "access_log": folder / "access.jsonl",
        **settings,
    }
    environment = own_environment()
    environment.pop("PORT", None)
    environment.update({f"TRAFFIC_ROUTER_{name.upper()}": str(value) for name, value in fields.items()})
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *arguments, "app:wsgi"]
    with (folder / "router.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    router = RouterProcess(folder, port, process)
    try:
        wait_until(lambda: _answers(router), "the router's first answer", START_DEADLINE_S)
    except BaseException as error:
        router.stop()
        raise AssertionError(f"{error}\n{router.log}") from error
    return router


def _answers(router: RouterProcess) -> bool:
    if router.process.poll() is not None:
        raise RuntimeError(f"gunicorn ended with {router.process.returncode}")
    try:
        return router.ask(b"GET /__router_health HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n").status > 0
    except OSError:
        return False


@contextlib.contextmanager
def running_router(
    folder: Path, upstream_port: int, *, arguments: tuple[str, ...] = (), root: Path = ROOT, **settings: object
) -> Iterator[RouterProcess]:
    """A router for the length of a `with` block; always stopped and reaped."""
    router = start_router(folder, upstream_port, settings, arguments=arguments, root=root)
    try:
        yield router
    finally:
        router.stop()


@contextlib.contextmanager
def configured_router(folder: Path, upstream_port: int, toml: str, **settings: Any) -> Iterator[RouterProcess]:
    """As `running_router`, with a `traffic_router.toml` of this content."""
    project = folder / "project"
    project.mkdir()
    for name in ("app", "gunicorn.conf.py"):
        (project / name).symlink_to(ROOT / name)
    (project / "traffic_router.toml").write_text(toml)
    with running_router(folder / "router", upstream_port, root=project, **settings) as router:
        yield router
