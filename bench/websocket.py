"""Echoed messages a second through the tunnel and direct, and what idle WebSockets cost.

Usage: bench-websocket [--rounds=N] [--idle=N]

Options:
  --rounds=N  rounds, in turns direct and through the router [default: 3]
  --idle=N    WebSockets kept open and silent [default: 1000]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

from bench.accounting import cpu_seconds
from bench.benchmark import Bench
from bench.echo_load import FRAME, open_websocket
from bench.processes import ROOT, Cores, Server, on_cores
from bench.table import figure, ratio, render_table

__all__ = ["run"]

SECONDS = 3
CONNECTIONS = 32
IDLE_FOR_S = 10.0


def echo(server: Server, cores: Cores) -> dict[str, float]:
    """One sample: messages a second, round trip, and CPU of the server for each message."""
    command = [sys.executable, "-m", "bench.echo_load", str(server.port), str(SECONDS), str(CONNECTIONS)]
    before_s = cpu_seconds(server.pid)
    with on_cores(cores.load):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS + 60, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    figures["per_s"] = figures["messages"] / figures["seconds"]
    figures["cpu_us"] = (cpu_seconds(server.pid) - before_s) / max(1, figures["messages"]) * 1e6
    return figures


def report_echo(direct: Server, through: Server, rounds: int, cores: Cores) -> None:
    """The message rates side by side."""
    samples: dict[str, list[dict[str, float]]] = {"direct": [], "through the router": []}
    for _ in range(rounds):
        samples["direct"].append(echo(direct, cores))
        samples["through the router"].append(echo(through, cores))
    rows, base = [], None
    for name, taken in samples.items():
        per_s, p50, p99, cpu = (
            statistics.median(sample[of] for sample in taken) for of in ("per_s", "p50_us", "p99_us", "cpu_us")
        )
        base = base or per_s
        rows.append([name, figure(per_s), ratio(per_s, base), figure(p50), figure(p99), figure(cpu, 1)])
    titles = ("echo", "messages/s", "/ direct", "p50 µs", "p99 µs", "CPU µs/message")
    print(f"{CONNECTIONS} connections, frames of {len(FRAME)} bytes, medians of {rounds} rounds\n")
    print(render_table(titles, rows))


def report_idle(server: Server, count: int) -> None:
    """What silent tunnels cost beside a router without any."""
    alone_s = _used_in(server)
    with ExitStack() as stack:
        for number in range(count):
            try:
                stack.enter_context(open_websocket(server.port))
            except ConnectionError as error:
                print(f"\nOnly {number:,} of {count:,} WebSockets could be opened: {error}")
                count = number
                break
        time.sleep(1)
        used_s = _used_in(server)
    print(f"\nCPU of the router in {IDLE_FOR_S:g} s without WebSockets: {alone_s:.2f} s")
    print(f"CPU of the router in {IDLE_FOR_S:g} s with {count:,} idle ones: {used_s:.2f} s")


def _used_in(server: Server) -> float:
    before_s = cpu_seconds(server.pid)
    time.sleep(IDLE_FOR_S)
    return cpu_seconds(server.pid) - before_s


def run(bench: Bench) -> None:
    """Both."""
    with bench.origin_and_router() as (origin, us):
        report_echo(origin, us, bench.count("--rounds"), bench.cores)
        report_idle(us, bench.count("--idle"))
