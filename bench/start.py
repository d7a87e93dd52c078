"""From start to the first served request, and what noticing a changed state costs.

Usage: bench-start [--times=N]

Options:
  --times=N  how often each is done [default: 7]
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from app.state.watch import StateWatch
from bench.benchmark import Bench
from bench.origin import run_origin
from bench.processes import Cores
from bench.router import router, write_state

__all__ = ["run"]

LOOKS = 200_000
SETTLE_S = 1.5
"""A state file this old is trusted without reading it again; see `app.state.watch`."""


def report_start(origin_port: int, times: int, folder: Path, cores: Cores) -> None:
    """Starts and ends the router again and again; the time ends with the first answer of the application."""
    took_s = []
    for number in range(times):
        began = time.monotonic()
        with router(folder / f"start-{number}", origin_port, cores.proxy):
            took_s.append(time.monotonic() - began)
    print(f"Start to first served request: {_spread(took_s, 's')}")


def report_look(folder: Path) -> None:
    """What each request pays to know the state: a look at a file that has not changed."""
    watch = StateWatch(write_state(folder, 1))
    time.sleep(SETTLE_S)
    watch.current()
    costs_us = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(LOOKS):
            watch.current()
        costs_us.append((time.process_time() - began) / LOOKS * 1e6)
    print(f"A look at an unchanged state: {_spread(costs_us, 'µs')}")


def report_switch(blue_port: int, green_port: int, times: int, folder: Path, cores: Cores) -> None:
    """Changes the state and asks at once: who answers, and how much longer that takes than any request."""
    home = folder / "switch"
    usual_us, first_us, seen = [], [], 0
    with router(home, blue_port, cores.proxy) as us:
        connection = http.client.HTTPConnection("127.0.0.1", us.port, timeout=10)
        for number in range(times):
            name = "green" if number % 2 == 0 else "blue"
            time.sleep(SETTLE_S)
            usual_us += [_ask(connection)[0] for _ in range(50)]
            write_state(home, blue_port, green_port, name)
            took_us, text = _ask(connection)
            first_us.append(took_us)
            seen += text == name.encode()
        connection.close()
    print(f"Requests right after a change that went to the new version: {seen} of {times}")
    print(f"Their latency: {_spread(first_us, 'µs')}; of others: {_spread(usual_us, 'µs')}")


def _ask(connection: http.client.HTTPConnection) -> tuple[float, bytes]:
    began = time.perf_counter()
    connection.request("GET", "/")
    text = connection.getresponse().read()
    return (time.perf_counter() - began) * 1e6, text


def _spread(values: Sequence[float], unit: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"median {middle:.2f} {unit} ({low:.2f} to {high:.2f}, n = {len(values)})"


def run(bench: Bench) -> None:
    """All of it."""
    times, folder, cores = bench.count("--times"), bench.folder, bench.cores
    with run_origin(folder / "blue", cores, "blue") as blue, run_origin(folder / "green", cores, "green") as green:
        report_start(blue.port, times, folder, cores)
        report_look(folder)
        report_switch(blue.port, green.port, times, folder, cores)
