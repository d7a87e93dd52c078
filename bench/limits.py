"""What limits cost a request, what a refusal costs, and how exact a rate is over several workers.

Usage: bench-limits [--rounds=N] [--turns=N] [--seconds=N]

Options:
  --rounds=N   rounds, each with a new router [default: 3]
  --turns=N    turns of each kind of request in a round [default: 60]
  --seconds=N  how long a rate of 100/s is flooded [default: 60]

1. Serving: CPU time of a whole worker for each request, in short turns on one router, as `make bench-metrics` does it
   and for the same reason: requests that no limit is about, those that one is asked about and lets through, and those
   that are refused; and the first kind once more, for what the method cannot tell apart.
2. Exactness: what four workers let through of a flood by 64 connections, at 100/s.
"""

from __future__ import annotations

import json
import statistics
import urllib.request

from bench.benchmark import Bench
from bench.closed_loop import run_load
from bench.origin import run_origin
from bench.processes import on_cores
from bench.router import router
from bench.turns import take_turn

__all__ = ["run"]

PATHS = {
    "no limit is about it": "/without-1",
    "asked, not reached": "/allowed-1",
    "refused": "/refused-1",
    "no limit is about it, again": "/without-2",
}
"""What the requests that take turns ask for: equally long paths, so that nothing else differs."""

OK = b"HTTP/1.1 200"
ANSWERS = {"refused": b"HTTP/1.1 429"}
"""How the answers begin, where not so."""

SETTINGS = """
[[limit]]
name = "wide"
path = ["/allowed-*"]
rate = "1000000/s"

[[limit]]
name = "shut"
path = ["/refused-*"]
rate = "1/h"
"""
BURST = 100  # as many as the rate's number
FLOODED = '[[limit]]\nname = "all"\npath = ["/flooded"]\nrate = "100/s"\n'


def report_serving(bench: Bench) -> None:
    """The kinds of requests beside the first of them."""
    found: list[dict[str, float]] = []
    names = list(PATHS)
    with run_origin(bench.folder / "origin", bench.cores) as origin:
        for number in range(bench.count("--rounds")):
            folder = bench.folder / str(number)
            folder.mkdir()
            (folder / "traffic_router.toml").write_text(SETTINGS)
            with router(folder, origin.port, bench.cores.proxy) as server:
                for turn in range(bench.count("--turns") + 5):
                    names.append(names.pop(0))  # each is first, second and last equally often
                    taken = {name: take_turn(server, PATHS[name], bench.cores, ANSWERS.get(name, OK)) for name in names}
                    if turn >= 5:  # it is warm
                        found.append(taken)
    base = next(iter(PATHS))
    print("Serving one request, whole worker          median      beside the first")
    for name in PATHS:
        median = statistics.median(turn[name] for turn in found)
        more = statistics.median(turn[name] - turn[base] for turn in found)
        share = statistics.median(turn[name] / turn[base] for turn in found)
        print(f"  {name:<36} {median:7.1f} µs {more:+8.1f} µs {share:8.2f} ×", flush=True)


def report_exactness(bench: Bench) -> None:
    """How many of a flood got through."""
    seconds = bench.count("--seconds")
    folder = bench.folder / "exact"
    folder.mkdir()
    (folder / "traffic_router.toml").write_text(FLOODED)
    with run_origin(bench.folder / "origin-2", bench.cores) as origin:
        with router(folder, origin.port, bench.cores.proxy, workers=4) as server, on_cores(bench.cores.load):
            load = run_load(server.port, "/flooded", seconds, 64, begins=b"HTTP/1.1 ")
            passed = _passed(server.port)
    print(f"At 100/s, four workers let {passed:,} of {load.requests:,} requests through in {load.seconds:.1f} s:")
    print(f"  {(passed - BURST) / load.seconds:.2f} a second, besides the burst at the beginning")


def _passed(port: int) -> int:
    """How many requests the first limit has let through."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/__router_metrics", timeout=10) as answer:
        return int(json.load(answer)["limits"][0]["passed"])


def run(bench: Bench) -> None:
    """Both."""
    report_serving(bench)
    report_exactness(bench)
