"""The router in front of several backends beside nginx, HAProxy, Envoy and Traefik, and what backends cost it.

Usage: bench-balance [--scenarios=NAMES] [--rounds=N] [--kills=N] [--only=NAMES] [--json=FILE] [--quick]

Options:
  --scenarios=NAMES  comma-separated, of those below [default: slow,kills,cpu]
  --rounds=N         rounds, each with every proxy once [default: 3]
  --kills=N          how many backends are killed in a round [default: 20]
  --only=NAMES       comma-separated peers, to leave the others out
  --json=FILE        also write every figure there
  --quick            a second where else there are several; to see that it works, not for figures

slow: 4 backends, one of them 20 times slower than the others (40 ms and 2 ms), 64 connections without pause.
kills: 4 backends that work 5 ms for an answer; one after the other is killed with SIGKILL and is back after half a
second, under GETs and POSTs without pause, and each proxy with its own defaults.
cpu: CPU per request of the router with its backend on its port, and with 1, 4 and 16 backends that are named.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.backends import run_backends, served
from bench.balancers import BALANCERS
from bench.benchmark import Bench
from bench.kills import Tally, kill_in_turn, total
from bench.load import apply_load, generator
from bench.peers import Peer, installed, serving, start_peers
from bench.processes import Server, free_port
from bench.record import conditions, save_record
from bench.router import router
from bench.sampling import LoadSpec, Sample, median_of, take_sample
from bench.table import figure, ratio, render_table

__all__ = ["Slow", "render_cpu", "render_kills", "render_slow", "run"]

T = TypeVar("T")
Start = Callable[[Path, Sequence[int]], AbstractContextManager[Server]]
"""Starts a proxy, which has a folder for its files, in front of backends at some ports."""

ROUTER: Final = "router"
FAST_MS, SLOW_MS = 2.0, 40.0
CONNECTIONS = 64
ON_ITS_PORT = "on its port"
COUNTS = {ON_ITS_PORT: 0, "1 named": 1, "4 named": 4, "16 named": 16}
"""Routers of the scenario `cpu`, by how many backends the settings name."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A sample in front of one slow backend, and the share of the requests that went to it."""

    sample: Sample
    slow_share: float


def slow(bench: Bench, peers: Mapping[str, Peer], rounds: int) -> dict[str, list[Slow]]:
    """Every proxy in turn in front of the same 3 fast backends and a slow one."""
    cores, ports = bench.cores, [free_port() for _ in range(4)]
    delays_ms = dict(zip(ports, (SLOW_MS, FAST_MS, FAST_MS, FAST_MS), strict=True))
    load = LoadSpec("/", _seconds(bench, 5), CONNECTIONS)
    with ExitStack() as stack:
        backends = stack.enter_context(run_backends(bench.folder / "slow", delays_ms, cores.load))
        us = router(bench.folder / "slow-router", ports[0], cores.proxy, backends=ports)
        servers = {ROUTER: stack.enter_context(us)} | start_peers(stack, peers, bench.folder / "slow", ports, cores)
        samples = {name: list[Slow]() for name in servers}
        for name, server in _in_turns(servers, rounds, "slow"):
            apply_load(server.port, "/", 1, CONNECTIONS, cores.load)  # to warm it up
            before = served(backends)
            taken = take_sample(server, backends, load, cores)
            counts = {port: count - before[port] for port, count in served(backends).items()}
            samples[name].append(Slow(taken, counts[ports[0]] / max(1, sum(counts.values()))))
    return samples


def kills(bench: Bench, peers: Mapping[str, Peer], rounds: int) -> dict[str, list[Tally]]:
    """Every proxy in turn, each time a new one in front of new backends."""
    number, cores = 2 if bench.options["--quick"] else bench.count("--kills"), bench.cores
    starts: dict[str, Start] = {ROUTER: lambda folder, ports: router(folder, ports[0], cores.proxy, backends=ports)}
    starts |= {name: partial(serving, name, peer, cores=cores) for name, peer in peers.items()}
    tallies = {name: list[Tally]() for name in starts}
    for turn, (name, start) in enumerate(_in_turns(starts, rounds, "kills")):
        folder = bench.folder / f"kills-{turn}"
        tallies[name].append(kill_in_turn(number, folder, cores, partial(start, folder / name)))
    return tallies


def cpu(bench: Bench, peers: Mapping[str, Peer], rounds: int) -> dict[str, list[Sample]]:
    """Routers that differ in how many backends they have; no peers. All backends are one process."""
    cores, ports = bench.cores, [free_port() for _ in range(max(COUNTS.values()))]
    load = LoadSpec("/", _seconds(bench, 3), 32)
    samples = {name: list[Sample]() for name in COUNTS}
    with ExitStack() as stack:
        backends = stack.enter_context(run_backends(bench.folder / "cpu", dict.fromkeys(ports, 0.0), cores.load))
        servers = {
            name: stack.enter_context(
                router(bench.folder / f"cpu-{count}", ports[0], cores.proxy, backends=ports[:count])
            )
            for name, count in COUNTS.items()
        }
        for name, server in _in_turns(servers, rounds, "cpu"):
            apply_load(server.port, "/", 1, load.connections, cores.load)
            samples[name].append(take_sample(server, backends, load, cores))
    return samples


def render_slow(samples: dict[str, list[Slow]]) -> str:
    """Medians over the rounds, and how many times the router's figure each is."""
    titles = ("proxy", "p50 ms", "p99 ms", "×", "req/s", "×", "to the slow one", "errors", "foreign CPU")
    ours = [one.sample for one in samples.get(ROUTER, [])]
    rows = []
    for name, taken in samples.items():
        of = partial(median_of, [one.sample for one in taken])
        p99, rate = of("p99_us"), of("requests_per_s")
        cells = [name, *(figure(None if us is None else us / 1e3, 1) for us in (of("p50_us"), p99))]
        cells += [ratio(p99, median_of(ours, "p99_us")), figure(rate), ratio(rate, median_of(ours, "requests_per_s"))]
        cells += [f"{statistics.median(one.slow_share for one in taken):.2%}" if taken else "–"]
        rows.append([*cells, str(sum(one.sample.errors for one in taken)), _percent(of("foreign"))])
    return render_table(titles, rows)


def render_kills(tallies: dict[str, list[Tally]]) -> str:
    """Sums over the rounds."""
    titles = ("proxy", "kills", "hit", "GETs", "failed", "POSTs", "failed", "in the killed", "elsewhere")
    rows = []
    for name, taken in tallies.items():
        if taken:
            all_of = total(taken)
            rows.append([name, *(figure(count) for count in asdict(all_of).values())])
    return render_table((*titles, "nowhere", "doubled"), rows)


def render_cpu(samples: dict[str, list[Sample]]) -> str:
    """Medians over the rounds, and how many times the figure of a backend on its port each is."""
    rows = []
    for name, taken in samples.items():
        cells = [name]
        for of, digits in (("cpu_us_per_request", 1), ("requests_per_s", 0)):
            value = median_of(taken, of)
            cells += [figure(value, digits), ratio(value, median_of(samples[ON_ITS_PORT], of))]
        errors = sum(sample.errors for sample in taken)
        rows.append([*cells, str(errors), _percent(median_of(taken, "foreign"))])
    return render_table(("backends", "CPU µs/req", "×", "req/s", "×", "errors", "foreign CPU"), rows)


SCENARIOS: Final[dict[str, tuple[Callable[..., dict[str, Any]], Callable[..., str]]]] = {
    "slow": (slow, render_slow),
    "kills": (kills, render_kills),
    "cpu": (cpu, render_cpu),
}
"""Each measures, and renders what it has measured: a list with an item of each round, by proxy."""


def run(bench: Bench) -> None:
    """Runs the scenarios and prints each as soon as it is measured."""
    names = _chosen(bench, "--scenarios", SCENARIOS, "scenario")
    wanted = _chosen(bench, "--only", BALANCERS, "peer")
    rounds = 1 if bench.options["--quick"] else bench.count("--rounds")
    print("\n".join(f"{name}: {value}" for name, value in conditions().items()))
    print(f"load: {generator()}; proxies on core {set(bench.cores.proxy)}, the rest on core {set(bench.cores.load)}")
    peers = installed({name: BALANCERS[name] for name in wanted}) if set(names) - {"cpu"} else {}
    figures = {}
    for name in names:
        measure, render = SCENARIOS[name]
        figures[name] = measure(bench, peers, rounds)
        print(f"\n{name}\n\n{render(figures[name])}\n", flush=True)
    print("bench/README.md explains the columns.")
    if bench.options["--json"]:
        raw = {name: {who: [asdict(one) for one in of] for who, of in by.items()} for name, by in figures.items()}
        save_record(Path(bench.options["--json"]), raw)


def _chosen(bench: Bench, option: str, known: dict[str, Any], what: str) -> list[str]:
    """The names that an option lists, all that are known without it; ends the program when one is not known."""
    given = bench.options[option]
    names = list(known) if given is None else [name for name in given.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no such {what}: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _seconds(bench: Bench, usual: int) -> int:
    return 1 if bench.options["--quick"] else usual


def _in_turns(servers: Mapping[str, T], rounds: int, what: str) -> Iterator[tuple[str, T]]:
    """Each by its name once per round, every other round backwards; says which one it is."""
    for number in range(rounds):
        for name in servers if number % 2 == 0 else reversed(list(servers)):
            print(f"{what}, round {number + 1} of {rounds}: {name}", flush=True)
            yield name, servers[name]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
