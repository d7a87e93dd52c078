"""Starting servers on chosen cores, waiting until they serve, and ending exactly those."""

from __future__ import annotations

import http.client
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.accounting import process_tree

__all__ = ["Cores", "Server", "allow_many_files", "answers", "free_port", "on_cores", "raise_exit_on_signal", "running"]

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the two sides of a measurement run; one and the same core on a machine that has no second."""

    proxy: frozenset[int]
    load: frozenset[int]

    @classmethod
    def chosen(cls) -> Cores:
        """The first core that we may use for the proxy, the second for the origin and the load."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(frozenset(usable[:1]), frozenset(usable[1:2] or usable[:1]))

    @property
    def all(self) -> frozenset[int]:
        """Both."""
        return self.proxy | self.load


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: the port it listens on, and the pid at the root of its process tree."""

    name: str
    port: int
    pid: int


def free_port() -> int:
    """A loopback port that nobody listens on, below those that outgoing connections are given meanwhile."""
    while True:
        port = random.randrange(10_000, 15_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def allow_many_files() -> None:
    """Raises our limit of open files as far as allowed; what we start inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def raise_exit_on_signal() -> None:
    """Makes TERM and HUP unwind the stack as Ctrl-C does, so that every server is ended."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


@contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """What is started inside runs on `cores` only: a child inherits the affinity."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    folder: Path,
    cores: frozenset[int],
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Server]:
    """Runs a server until the block is left.

    Its output goes to `folder`/`name`.log, which is also the end of the message when it does not start.
    Raises RuntimeError when it ends, or does not answer within 30 s.
    """
    log_file = folder / f"{name}.log"
    with on_cores(cores), open(log_file, "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=cwd or folder,
            env={**_inherited(), **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C at the terminal is for us; we end it
        )
    try:
        _wait_until_it_answers(name, process, port, log_file)
        yield Server(name, port, process.pid)
    finally:
        _end(process)


def _inherited() -> dict[str, str]:
    """Our environment without proxies, and without settings that were meant for a router of the user's."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("TRAFFIC_ROUTER_")
    }


def _wait_until_it_answers(name: str, process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(port):
        said = log_file.read_text(errors="replace")[-600:]
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with status {process.returncode}: {said}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} does not answer on port {port}: {said}")
        time.sleep(0.01)


def answers(port: int) -> bool:
    """Whether a GET is answered with 200 at this moment."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """TERM, and KILL for whatever of the tree is left after a while."""
    tree = process_tree(process.pid)
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        for member in {*tree, *process_tree(process.pid)}:
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
