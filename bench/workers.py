"""`make bench-workers`: what two workers serve beside one, how evenly connections spread, and p99 under 64 clients.

    python -m bench.workers [--rounds N]

    --rounds N  rounds, in turns with one worker and with two [default: 3]

The load generator shares the cores with two workers, so their requests per second alone would understate them.
What counts is what the workers serve for each second of CPU that they get: if two needed more of it for each
request than one does (for locks, or lines of cache in common), they would be less than twice one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.load import generator
from bench.origin import run_origin
from bench.processes import Cores, Server, allow_many_files, raise_exit_on_signal
from bench.router import router, worker_figures
from bench.sampling import LoadSpec, Sample, take_sample
from bench.table import figure, render_table

__all__ = ["scaling", "spread"]

LOAD = LoadSpec("/", 5, 64)


def scaling(one_us: Sequence[float], two_us: Sequence[float]) -> float:
    """How many times one worker two are worth, from the CPU time of a request with one and with two."""
    return 2 * statistics.median(one_us) / statistics.median(two_us)


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


def main() -> None:
    """One worker on one core, two on two, in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    options = parser.parse_args()
    raise_exit_on_signal()
    allow_many_files()
    cores = Cores.chosen()
    if len(cores.all) < 2:
        print("One core only: nothing to see.")
        return
    rows = []
    costs_us: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with run_origin(folder / "origin", cores) as origin:
            for number in range(options.rounds):
                for workers, place in ((1, cores.proxy), (2, cores.all)):
                    with router(folder / f"{number}-{workers}", origin.port, place, workers) as us:
                        sample(us, origin, cores)  # to warm it up
                        taken, uneven = sample(us, origin, cores)
                    costs_us[workers].append(taken.cpu_us_per_request)
                    got = taken.cpu_s / taken.seconds
                    cells = [figure(taken.requests_per_s), figure(taken.cpu_us_per_request, 1), figure(got, 2)]
                    cells += [figure(uneven, 2), figure(taken.p50_us), figure(taken.p99_us)]
                    cells += [figure(taken.p99_us / taken.p50_us, 1), str(taken.errors), f"{taken.foreign:.0%}"]
                    rows.append([str(workers), *cells])
    titles = ("workers", "req/s", "CPU µs/req", "cores got", "max/min", "p50 µs", "p99 µs", "p99/p50", "errors")
    print(f"load: {generator()}, {LOAD.connections} connections\n")
    print(render_table((*titles, "foreign CPU"), sorted(rows)))
    print(f"\nTwo workers are worth {scaling(costs_us[1], costs_us[2]):.2f} times one.")


if __name__ == "__main__":
    main()
