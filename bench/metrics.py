"""What counting costs a request, and what reading the figures costs.

Usage: bench-metrics [--rounds=N] [--turns=N]

Options:
  --rounds=N  rounds, each with a new router [default: 5]
  --turns=N   turns of each kind of request in a round [default: 80]

1. Recording: CPU time of one request's `start` and `finish` on a slot of a real file, beside that of a router
   with metrics off, which only keeps what a drain needs.
2. Serving: CPU time of a whole worker for each request. The router leaves one path out of its metrics
   (`metrics_exclude`), which for a request is the same as metrics off. It takes load for counted and for uncounted
   requests in short turns, and for counted ones once more: what these two differ by is what the method cannot tell
   apart. Two routers, one with metrics and one without, would not do: two processes of one program differ by up to a
   tenth for as long as they live, depending on where their memory happens to lie.
3. Reading: what a snapshot, a window, the history and a scrape take.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable

from app.metrics import prometheus
from app.metrics.exposition import as_json
from app.metrics.shared import SharedMetrics, monotonic_us
from app.metrics.slot import SlotWriter
from bench.benchmark import Bench
from bench.origin import run_origin
from bench.processes import Cores, Server
from bench.router import router
from bench.turns import take_turn

__all__ = ["run"]

RECORDED = 200_000
REQUEST_ID = b"9f86d081884c7d65-1a2b"
PATHS = {"counted": "/counted-1", "not counted": "/uncounted", "counted again": "/counted-2"}
"""What the requests that take turns ask for: equally long paths, so that nothing else differs."""


# --- recording ----------------------------------------------------------------------------------------------


def record_counted(writer: SlotWriter, now_us: int) -> None:
    """What a worker does for each request."""
    for number in range(RECORDED):
        us = number % 15_000  # spread over the buckets, as real durations are, up to 16 ms
        row = writer.start(0, b"GET", b"/api/items/12345?page=2", now_us, REQUEST_ID)
        writer.finish(
            row, 0, status=200, bytes_out=1234, total_us=1000 + us, first_byte_us=900 + us, upstream_us=800 + us
        )


def record_slow(writer: SlotWriter, now_us: int) -> None:
    """The same for requests so slow that their buckets are not looked up but computed."""
    for number in range(RECORDED):
        us = 100_000 + number
        row = writer.start(0, b"GET", b"/api/items/12345?page=2", now_us, REQUEST_ID)
        writer.finish(
            row, 0, status=200, bytes_out=1234, total_us=1000 + us, first_byte_us=900 + us, upstream_us=800 + us
        )


def record_claimed(writer: SlotWriter, now_us: int) -> None:
    """What a worker with `metrics_enabled=False` does for each request."""
    for _ in range(RECORDED):
        writer.unclaim(writer.start(0, b"GET", b"/api/items/12345?page=2", now_us, REQUEST_ID), 0)


def cpu_us(work: Callable[..., object], *arguments: object) -> float:
    """The CPU time of a piece of work in µs."""
    before = time.process_time()
    work(*arguments)
    return (time.process_time() - before) * 1e6


def report_recording(writer: SlotWriter, rounds: int) -> None:
    """Best and median over rounds that alternate between them."""
    works = {
        "metrics on": record_counted,
        "metrics on, requests of 100 ms and more": record_slow,
        "metrics off": record_claimed,
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(cpu_us(work, writer, monotonic_us()) / RECORDED)
    print("Recording one request: start + finish          best     median", flush=True)
    for name, costs in found.items():
        print(f"  {name:<40} {min(costs):6.2f} µs {statistics.median(costs):6.2f} µs", flush=True)


# --- reading ------------------------------------------------------------------------------------------------


def report_reading(metrics: SharedMetrics) -> None:
    """One reader's CPU time for each thing it may ask for."""
    metrics.try_lead()
    metrics.fold()
    reads: dict[str, Callable[[], object]] = {
        "snapshot": metrics.snapshot,
        "snapshot as JSON": lambda: json.dumps(as_json(metrics.snapshot())),
        "snapshot for Prometheus": lambda: prometheus.render(metrics.snapshot(), "prometheus", "serving", None),
        "snapshot(window_s=60)": lambda: metrics.snapshot(60),
        "history(600)": lambda: metrics.history(600),
        "history(21600)": lambda: metrics.history(21_600),
        "in_flight": lambda: metrics.in_flight("blue"),
    }
    print("Reading                                    best")
    for name, read in reads.items():
        print(f"  {name:<36} {min(cpu_us(read) for _ in range(20)) / 1000:7.2f} ms")


# --- serving ------------------------------------------------------------------------------------------------


def serve_in_turns(server: Server, turns: int, cores: Cores) -> list[dict[str, float]]:
    """The CPU time of each kind of request in µs, turn by turn."""
    names = list(PATHS)
    found = []
    for _ in range(turns):
        names.append(names.pop(0))  # each is first, second and last equally often
        found.append({name: take_turn(server, PATHS[name], cores) for name in names})
    return found


def report_serving(bench: Bench) -> None:
    """Counted requests beside uncounted ones, and beside themselves."""
    folder, cores = bench.folder, bench.cores
    leave_out = {"TRAFFIC_ROUTER_METRICS_EXCLUDE": PATHS["not counted"]}
    found = []
    with run_origin(folder / "origin", cores) as origin:
        for number in range(bench.count("--rounds")):
            with router(folder / str(number), origin.port, cores.proxy, settings=leave_out) as server:
                serve_in_turns(server, 5, cores)  # to warm it up
                found += serve_in_turns(server, bench.count("--turns"), cores)
    print("Serving one request, whole worker          median    requests per CPU second")
    for name in PATHS:
        median = statistics.median(turn[name] for turn in found)
        print(f"  {name:<36} {median:7.1f} µs {1e6 / median:9,.0f}")
    cost = [(turn["counted"] + turn["counted again"]) / 2 / turn["not counted"] for turn in found]
    print(f"  counted ones cost {_difference(cost)}")
    again = [turn["counted again"] / turn["counted"] for turn in found]
    print(f"  counted ones differ from counted ones by {_difference(again)}", flush=True)


def _difference(found: list[float]) -> str:
    """How far the median of ratios is from 1, and a 95 % interval for it, from the ranks of a binomial distribution."""
    ratios = sorted(100 * (ratio - 1) for ratio in found)
    middle, reach = len(ratios) / 2, 0.98 * len(ratios) ** 0.5
    low, high = ratios[max(0, int(middle - reach))], ratios[min(len(ratios) - 1, int(middle + reach))]
    return f"{statistics.median(ratios):+.1f} % (95 % sure: {low:+.1f} … {high:+.1f} %; {len(ratios)} turns)"


def run(bench: Bench) -> None:
    """All three."""
    metrics = SharedMetrics.create_or_attach(bench.folder / "router_metrics.mmap", 16)
    writer = metrics.claim_slot(os.getpid())
    report_recording(writer, 7)
    report_serving(bench)
    report_reading(metrics)
    writer.close()
    metrics.close()
