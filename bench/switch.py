"""How long a switch and a rollback take, seen by the clients of a router under load.

Usage: bench-switch [--times=N] [--rate=N]

Options:
  --times=N  how often each command is given [default: 20]
  --rate=N   requests per second while it works [default: 400]
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from bench.benchmark import Bench
from bench.load import at_once
from bench.origin import run_origin
from bench.processes import ROOT
from bench.router import environment, router, write_state

__all__ = ["Clients", "Switch", "measure", "run"]

WORKERS = 2
CLIENTS = 8
COMMAND = str(ROOT / "bin" / "blue_green_deploy")
PARTS = {
    "Python": [sys.executable, "-c", ""],
    "a command that does nothing": [COMMAND, "--version"],
}
"""Commands that say what the time is made of: each does the one before it, and more."""

_SETTLE_S = 0.3


@dataclass(frozen=True, slots=True)
class Switch:
    """One command: seconds from its start to its end, and to the sending of the last request that the old version got.

    `late` counts requests that were sent after the command's end, and yet got there.
    """

    exit_s: float
    last_old_s: float
    late: int


@dataclass(slots=True)
class Clients:
    """Keep-alive clients that ask `rate` times a second, all together.

    `answers` is a list of (when the request was sent, who answered), `failures` has what went wrong.
    """

    port: int
    rate: float
    answers: list[tuple[float, bytes]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def asking(self) -> AbstractContextManager[None]:
        """They ask until the block is left."""
        return at_once(CLIENTS, self._ask, self._is_over)

    def _ask(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
                while not self._is_over.wait(CLIENTS / self.rate):
                    sent_at = time.perf_counter()
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
                    self.answers.append((sent_at, _body(sock)))
        except (OSError, ValueError) as error:
            self.failures.append(repr(error))


def _body(sock: socket.socket) -> bytes:
    """The body of one answer, which the origin sends in one piece with its length."""
    data = b""
    while b"\r\n\r\n" not in data or data.endswith(b"\r\n\r\n"):
        more = sock.recv(65536)
        if not more:
            raise ConnectionResetError("closed")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(head[:60])
    return body


def measure(clients: Clients, words: Sequence[str], environ: Mapping[str, str], old: bytes) -> Switch:
    """Gives one command, which takes the traffic away from `old`. Raises RuntimeError when it fails."""
    first = len(clients.answers)
    began = time.perf_counter()
    done = subprocess.run([COMMAND, *words], env=environ, capture_output=True, text=True)
    exit_s = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {done.stderr}")
    time.sleep(_SETTLE_S)  # for requests that came late, were there any
    sent = [at - began for at, who in clients.answers[first:] if who == old]
    return Switch(exit_s, max(sent, default=0.0), sum(at > exit_s for at in sent))


def run(bench: Bench) -> None:
    """Switches there and rolls back, again and again, under load."""
    rate, folder, cores = bench.count("--rate"), bench.folder, bench.cores
    switches: dict[str, list[Switch]] = {"switch": [], "rollback": []}
    parts: dict[str, list[float]] = {name: [] for name in PARTS}
    with (
        run_origin(folder / "blue", cores, "blue") as blue,
        run_origin(folder / "green", cores, "green") as green,
        router(folder / "router", blue.port, cores.all, WORKERS) as us,
    ):
        write_state(folder / "router", blue.port, green.port)
        environ = {**os.environ, **environment(folder / "router", us.port, WORKERS)}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or the modules would be compiled each time
        clients = Clients(us.port, rate)
        with clients.asking():
            for _ in range(bench.count("--times")):
                switches["switch"].append(measure(clients, ["switch", "green"], environ, b"blue"))
                switches["rollback"].append(measure(clients, ["rollback"], environ, b"green"))
                for name, command in PARTS.items():
                    began = time.perf_counter()
                    subprocess.run(command, env=environ, capture_output=True, check=True)
                    parts[name].append(time.perf_counter() - began)
    print(f"Milliseconds from the start of the command, {WORKERS} workers, {rate} requests/s: median (worst)")
    for name, seen in switches.items():
        last, end = [one.last_old_s for one in seen], [one.exit_s for one in seen]
        print(f"  {name:<9} last request sent to the old version {_spread(last)}, end of the command {_spread(end)}")
    print("Of this: " + ", ".join(f"{name} {_spread(took)}" for name, took in parts.items()))
    late = sum(one.late for seen in switches.values() for one in seen)
    print(f"Requests: {len(clients.answers)}, failed {len(clients.failures)}, to the old version after the end {late}")


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.0f} ({max(seconds) * 1e3:.0f})"
