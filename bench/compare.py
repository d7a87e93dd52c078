"""The router beside whatever is installed of nginx, HAProxy and Caddy, and the obvious Flask build.

Usage: bench [--rounds=N] [--only=NAMES] [--json=FILE]

Options:
  --rounds=N    rounds, each with every proxy once [default: 3]
  --only=NAMES  comma-separated peers, to leave the others out
  --json=FILE   also write every sample there
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from app.compiled import describe
from app.settings.loading import PURE_VARIABLE
from bench.accounting import Memory, memory
from bench.benchmark import Bench
from bench.load import GeneratorFailed, apply_load, generator
from bench.peers import PEERS, installed, start_peers
from bench.processes import Cores, Server
from bench.record import conditions, save_record
from bench.router import router
from bench.sampling import LOADS, Sample, median_of, take_sample
from bench.table import figure, ratio, render_table

__all__ = ["Samples", "render_comparison", "run"]

Samples = dict[str, dict[str, list[Sample]]]
"""Samples by server, then by load."""

DIRECT = "direct"
ROUTER, PURE = "router", "router, pure"
"""As it is installed, and as plain Python."""

TITLES = (
    *("proxy", "CPU µs/req", "×", "req/s", "×", "p50 µs", "p99 µs"),
    *("CPU s/GiB 64k", "×", "CPU s/GiB 1m", "×", "RSS MiB", "×", "errors", "foreign CPU"),
)


def measure(servers: Sequence[Server], origin: Server, rounds: int, cores: Cores) -> Samples:
    """Interleaved rounds, in turns forwards and backwards, so that a disturbance does not hit one proxy alone."""
    samples: Samples = {server.name: {load: [] for load in LOADS} for server in servers}
    for number in range(rounds):
        for server in servers if number % 2 == 0 else reversed(servers):
            print(f"round {number + 1} of {rounds}: {server.name}", flush=True)
            apply_load(server.port, "/", 1, LOADS["small"].connections, cores.load)  # to warm it up
            for load, spec in LOADS.items():
                try:
                    samples[server.name][load].append(take_sample(server, origin, spec, cores))
                except GeneratorFailed as error:
                    print(f"{server.name}, {load}: {error}")
    return samples


def render_comparison(samples: Samples, memories: dict[str, Memory]) -> str:
    """The table: medians over the rounds, and each as a multiple of the router's."""
    base = samples.get(ROUTER, {load: [] for load in LOADS})
    base_rss = memories[ROUTER].rss_kib if ROUTER in memories else None
    rows = []
    for name, loads in samples.items():
        small, taken = loads["small"], [sample for each in loads.values() for sample in each]
        cells = [name]
        for load, of, digits in (
            ("small", "cpu_us_per_request", 1),
            ("small", "requests_per_s", 0),
            ("small", "p50_us", 0),
            ("small", "p99_us", 0),
            ("64k", "cpu_s_per_gib", 2),
            ("1m", "cpu_s_per_gib", 2),
        ):
            is_cost_of_direct = name == DIRECT and of.startswith("cpu")
            value = None if is_cost_of_direct else median_of(loads[load], of)
            cells.append(figure(value, digits))
            if not of.startswith("p"):
                cells.append(ratio(value, median_of(base[load], of)))
        rss = memories[name].rss_kib if name in memories else None
        cells += [figure(None if rss is None else rss / 1024), ratio(rss, base_rss)]
        foreign = median_of(small, "foreign")
        cells += [str(sum(sample.errors for sample in taken)), "–" if foreign is None else f"{foreign:.0%}"]
        rows.append(cells)
    return render_table(TITLES, rows)


def run(bench: Bench) -> None:
    """Runs the comparison and prints it."""
    rounds, cores = bench.count("--rounds"), bench.cores
    only = bench.options["--only"]
    names = list(PEERS) if only is None else [name for name in only.split(",") if name]
    if unknown := [name for name in names if name not in PEERS]:
        raise SystemExit(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    print("\n".join(f"{name}: {value}" for name, value in conditions().items()))
    print(f"router: {describe(os.environ)}")
    print(f"load: {generator()}; proxies on core {set(cores.proxy)}, origin and load on core {set(cores.load)}")
    with ExitStack() as stack:
        origin, us = stack.enter_context(bench.origin_and_router())
        sources = {PURE_VARIABLE: "1"}
        pure = router(bench.folder / PURE, origin.port, cores.proxy, settings=sources, name=PURE)
        servers = [Server(DIRECT, origin.port, origin.pid), us, stack.enter_context(pure)]
        peers = installed({name: PEERS[name] for name in names})
        servers += start_peers(stack, peers, bench.folder, [origin.port], cores).values()
        samples = measure(servers, origin, rounds, cores)
        memories = {server.name: memory(server.pid) for server in servers if server.name != DIRECT}
    print(f"\n{render_comparison(samples, memories)}\n")
    print("Medians; × is a multiple of the router's figure. bench/README.md explains the columns.")
    if bench.options["--json"]:
        raw = {name: {k: [asdict(s) for s in v] for k, v in loads.items()} for name, loads in samples.items()}
        save_record(
            Path(bench.options["--json"]), {"samples": raw, "memory": {n: asdict(m) for n, m in memories.items()}}
        )
