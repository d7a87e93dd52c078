"""The load generator of a measurement: wrk where it is installed, else our own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.closed_loop import Load
from bench.processes import ROOT, on_cores

__all__ = ["GeneratorFailed", "apply_load", "at_once", "generator", "parse_wrk"]

_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


class GeneratorFailed(Exception):
    """The load generator gave no figures."""


def generator() -> str:
    """The name of the generator that `apply_load` uses."""
    return "wrk" if shutil.which("wrk") else "bench/closed_loop.py (wrk is not installed)"


def apply_load(
    port: int, path: str, seconds: int, connections: int, cores: frozenset[int], fields: Sequence[str] = ()
) -> Load:
    """Keeps `connections` requests, with these field lines, going for some seconds. Raises GeneratorFailed."""
    wrk = shutil.which("wrk")
    if wrk:
        url = f"http://127.0.0.1:{port}{path}"
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency", url]
        command[1:1] = [word for field in fields for word in ("-H", field)]
    else:
        command = [sys.executable, "-m", "bench.closed_loop", str(port), path, str(seconds), str(connections), *fields]
    with on_cores(cores):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise GeneratorFailed(f"{command[0]}: {done.stderr.strip()[-300:]}")
    return parse_wrk(done.stdout) if wrk else Load(**json.loads(done.stdout))


def parse_wrk(text: str) -> Load:
    """The figures of `wrk --latency`. Raises GeneratorFailed when they are not there."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", text)
    p50, p99 = (re.search(rf"^ +{share}% +([\d.]+)(us|ms|s|m) *$", text, re.MULTILINE) for share in (50, 99))
    if total is None or p50 is None or p99 is None:
        raise GeneratorFailed(f"wrk printed no figures: {text[-300:]}")
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = sum(map(int, sockets.groups())) if sockets else 0
    errors += int(statuses[1]) if statuses else 0
    return Load(int(total[1]), errors, _us(total[2], total[3]) / 1e6, _us(p50[1], p50[2]), _us(p99[1], p99[2]))


def _us(number: str, unit: str) -> float:
    return float(number) * _UNITS_US[unit]


@contextmanager
def at_once(clients: int, ask: Callable[[], None], is_over: threading.Event) -> Iterator[None]:
    """So many clients of our own ask, each in its thread, until the block is left: `is_over` tells them."""
    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
