"""The router in front of several backends beside nginx, HAProxy, Envoy and Traefik, and what backends cost it.

Usage: bench-balance [--scenarios=NAMES] [--rounds=N] [--kills=N] [--only=NAMES] [--json=FILE] [--quick]

Options:
  --scenarios=NAMES  comma-separated, of those below [default: slow,queue,kills,cpu]
  --rounds=N         rounds, each with every proxy once [default: 3]
  --kills=N          how many backends are killed in a round [default: 20]
  --only=NAMES       comma-separated peers, to leave the others out
  --json=FILE        also write every figure there
  --quick            a second where else there are several; to see that it works, not for figures

slow: 4 backends, one of them 20 times slower than the others (40 ms and 2 ms), 64 connections without pause.
queue: 4 backends that have one request at a time, as a plain Python server does, and need 10 ms for it, one of them
200; 32 connections; also with a limit of one, for those proxies that let requests wait for it.
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
from bench.balancers import BALANCERS, QUEUING
from bench.benchmark import Bench
from bench.kills import Tally, kill_in_turn, total
from bench.load import GeneratorFailed, apply_load, generator
from bench.peers import Peer, installed, serving, start_peers
from bench.processes import Server, answers, free_port
from bench.record import conditions, save_record
from bench.router import router
from bench.sampling import LoadSpec, Sample, median_of, take_sample
from bench.table import figure, ratio, render_table

__all__ = ["LIMITED", "ON_ITS_PORT", "SCENARIOS", "Slow", "render_cpu", "render_kills", "render_slow", "run"]

T = TypeVar("T")
Start = Callable[[Path, Sequence[int]], AbstractContextManager[Server]]
"""Starts a proxy, which has a folder for its files, in front of backends at some ports."""

ROUTER: Final = "router"
LIMITED: Final = "router, max_in_flight 1"
SLOWER = 20
"""How many times as long as the others the slow backend needs."""

ON_ITS_PORT = "on its port"
COUNTS = {ON_ITS_PORT: 0, "1 named": 1, "4 named": 4, "16 named": 16}
"""Routers of the scenario `cpu`, by how many backends the settings name."""

TURNS = 8
"""What differs by a hundredth shows in many short turns beside one another, not in a few long ones."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A sample in front of one slow backend, and the share of the requests that went to it."""

    sample: Sample
    slow_share: float


@dataclass(frozen=True, slots=True)
class Setup:
    """What stands before and behind the proxies.

    Attributes:
        name: of the scenario.
        fast_ms: what a backend needs for an answer that is not the slow one.
        is_serial: it has one request at a time.
        routers: names with the setting `max_in_flight` of each.
    """

    name: str
    fast_ms: float
    is_serial: bool
    connections: int
    routers: Mapping[str, int]


SLOW: Final = Setup("slow", 2.0, False, 64, {ROUTER: 0})
QUEUE: Final = Setup("queue", 10.0, True, 32, {ROUTER: 0, LIMITED: 1})


def slow(bench: Bench, peers: Mapping[str, Peer], rounds: int) -> dict[str, list[Slow]]:
    """Every proxy in turn in front of 3 fast backends and a slow one."""
    return _before_a_slow_one(SLOW, bench, peers, rounds)


def queue(bench: Bench, peers: Mapping[str, Peer], rounds: int) -> dict[str, list[Slow]]:
    """The same before backends that have one request at a time, and with that as a limit."""
    limited = {name: peer for name, peer in QUEUING.items() if name.partition(",")[0] in peers}
    return _before_a_slow_one(QUEUE, bench, {**peers, **limited}, rounds)


def _before_a_slow_one(setup: Setup, bench: Bench, peers: Mapping[str, Peer], rounds: int) -> dict[str, list[Slow]]:
    """All in turn before the same backends."""
    cores, ports = bench.cores, [free_port() for _ in range(4)]
    delays_ms = {port: setup.fast_ms * (SLOWER if port == ports[0] else 1) for port in ports}
    load = LoadSpec("/", 1 if bench.options["--quick"] else 5, setup.connections)
    folder = bench.folder / setup.name
    with ExitStack() as stack:
        backends = stack.enter_context(run_backends(folder, delays_ms, cores.load, is_serial=setup.is_serial))
        servers = {}
        for name, limit in setup.routers.items():
            us = router(folder / name, ports[0], cores.proxy, backends=ports, max_in_flight=limit)
            servers[name] = stack.enter_context(us)
        servers |= start_peers(stack, peers, folder, ports, cores)
        for server in servers.values():
            apply_load(server.port, load.path, 1, load.connections, cores.load)  # to warm it up
        samples = {name: list[Slow]() for name in servers}
        for name, server in _in_turns(servers, rounds, setup.name):
            any(answers(ports[0]) for _ in range(10))  # once what the one before has left there has been answered
            before = served(backends)
            try:
                taken = take_sample(server, backends, load, cores)
            except GeneratorFailed as error:
                print(f"\n{name}: {error}")
                continue
            counts = [count - before[port] for port, count in served(backends).items()]  # the slow one's first
            samples[name].append(Slow(taken, counts[0] / max(1, sum(counts))))
    return samples


def kills(bench: Bench, peers: Mapping[str, Peer], rounds: int) -> dict[str, list[Tally]]:
    """Every proxy in turn, each time a new one in front of new backends."""
    number, cores = 2 if bench.options["--quick"] else bench.count("--kills"), bench.cores
    starts: dict[str, Start] = {ROUTER: lambda folder, ports: router(folder, ports[0], cores.proxy, backends=ports)}
    starts |= {name: partial(serving, name, peer, cores=cores) for name, peer in peers.items()}
    tallies = {name: list[Tally]() for name in starts}
    for turn, (name, start) in enumerate(_in_turns(starts, rounds, "kills")):
        folder = bench.folder / f"kills-{turn}"
        try:
            tallies[name].append(kill_in_turn(number, folder, cores, partial(start, folder / name)))
        except RuntimeError as error:  # it did not start
            print(f"\n{name}: left out of this round: {error}")
    return tallies


def cpu(bench: Bench, peers: Mapping[str, Peer], rounds: int) -> dict[str, list[Sample]]:
    """Routers that differ in how many backends they have; no peers. All backends are one process."""
    cores, ports = bench.cores, [free_port() for _ in range(max(COUNTS.values()))]
    turns, load = 1 if bench.options["--quick"] else rounds * TURNS, LoadSpec("/", 1, 32)
    samples = {name: list[Sample]() for name in COUNTS}
    with ExitStack() as stack:
        backends = stack.enter_context(run_backends(bench.folder / "cpu", dict.fromkeys(ports, 0.0), cores.load))
        servers = {
            name: stack.enter_context(
                router(bench.folder / f"cpu-{count}", ports[0], cores.proxy, backends=ports[:count])
            )
            for name, count in COUNTS.items()
        }
        for server in servers.values():
            apply_load(server.port, load.path, 1, load.connections, cores.load)
        for name, server in _in_turns(servers, turns, "cpu"):
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
    """Medians over the turns; × is the median of what each is beside a backend on its port in the same turn."""
    base = samples[ON_ITS_PORT]
    rows = []
    for name, taken in samples.items():
        costs = [sample.cpu_us_per_request for sample in taken]
        beside = [cost / one.cpu_us_per_request for cost, one in zip(costs, base, strict=True)]
        low, _, high = statistics.quantiles(costs, method="inclusive") if len(costs) > 1 else costs * 3
        cells = [name, figure(statistics.median(costs), 1), f"{low:.1f}–{high:.1f}", f"{statistics.median(beside):.3f}"]
        cells += [figure(median_of(taken, "requests_per_s")), str(sum(sample.errors for sample in taken))]
        rows.append([*cells, _percent(median_of(taken, "foreign"))])
    return render_table(("backends", "CPU µs/req", "half of them", "×", "req/s", "errors", "foreign CPU"), rows)


SCENARIOS: Final[dict[str, tuple[Callable[..., dict[str, Any]], Callable[..., str]]]] = {
    "slow": (slow, render_slow),
    "queue": (queue, render_slow),
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


def _in_turns(servers: Mapping[str, T], rounds: int, what: str) -> Iterator[tuple[str, T]]:
    """Each by its name once per round, every other round backwards; prints a line for the round as it goes."""
    for number in range(rounds):
        print(f"{what}, round {number + 1} of {rounds}:", end="", flush=True)
        for name in servers if number % 2 == 0 else reversed(list(servers)):
            print(f" {name}", end="", flush=True)
            yield name, servers[name]
        print()


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
