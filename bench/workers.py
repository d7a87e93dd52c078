"""What two workers serve beside one, how evenly connections spread, and p99 under 64 clients.

Usage: bench-workers [--rounds=N]

Options:
  --rounds=N  rounds, in turns with one worker and with two [default: 3]

Two workers share their cores with the origin and the load generator, which have twice as much to do as well. So that
one worker has no better place, it shares its one core with them too: the comparison is everything on one core, and the
same on two. A request takes the same work in both, and the ratio of requests per second is what the second worker is
worth, its wake-ups across cores included.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.benchmark import Bench
from bench.load import generator
from bench.origin import run_origin
from bench.processes import Cores, Server
from bench.router import router, worker_figures
from bench.sampling import LoadSpec, Sample, take_sample
from bench.table import figure, render_table

__all__ = ["run", "scaling", "spread"]

LOAD = LoadSpec("/", 5, 64)


def scaling(one: Sequence[float], two: Sequence[float]) -> float:
    """How many times one worker two are worth, from the requests per second of either."""
    return statistics.median(two) / statistics.median(one)


def spread(requests: Sequence[int]) -> float:
    """The busiest worker's requests as a multiple of the idlest one's."""
    return max(requests) / max(1, min(requests))


def requests_by_worker(server: Server) -> dict[int, int]:
    """Requests so far by the pid of the worker."""
    return {figures["pid"]: figures["requests"] for figures in worker_figures(server.port)}


def sample(server: Server, origin: Server, cores: Cores) -> tuple[Sample, float]:
    """A sample, and how uneven the requests were spread."""
    before = requests_by_worker(server)
    taken = take_sample(server, origin, LOAD, cores)
    return taken, spread([count - before.get(pid, 0) for pid, count in requests_by_worker(server).items()])


def measure(folder: Path, workers: int, cores: Cores) -> tuple[Sample, float]:
    """A sample of a new router and origin with everything on `cores`, after one to warm it up."""
    folder.mkdir()
    with (
        run_origin(folder / "origin", cores) as origin,
        router(folder / "router", origin.port, cores.proxy, workers) as us,
    ):
        sample(us, origin, cores)
        return sample(us, origin, cores)


def run(bench: Bench) -> None:
    """One worker on one core, two on two, in turns."""
    cores = bench.cores
    if len(cores.all) < 2:
        print("One core only: nothing to see.")
        return
    rows = []
    served: dict[int, list[float]] = {1: [], 2: []}
    for number in range(bench.count("--rounds")):
        for workers, place in ((1, cores.proxy), (2, cores.all)):
            taken, uneven = measure(bench.folder / f"{number}-{workers}", workers, Cores(place, place))
            served[workers].append(taken.requests_per_s)
            cells = [figure(taken.requests_per_s), figure(taken.cpu_us_per_request, 1)]
            cells += [figure(uneven, 2), figure(taken.p50_us), figure(taken.p99_us)]
            cells += [figure(taken.p99_us / taken.p50_us, 1), str(taken.errors), f"{taken.foreign:.0%}"]
            rows.append([str(workers), *cells])
    titles = ("workers", "req/s", "CPU µs/req", "max/min", "p50 µs", "p99 µs", "p99/p50", "errors", "foreign CPU")
    print(f"load: {generator()}, {LOAD.connections} connections\n")
    print(render_table(titles, sorted(rows)))
    print(f"\nTwo workers serve {scaling(served[1], served[2]):.2f} times what one does.")
