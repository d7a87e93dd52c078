"""What it costs the traffic that people look at the live page.

Usage: bench-viewers [--viewers=N] [--rounds=N]

Options:
  --viewers=N  how many look, all at the same worker [default: 10]
  --rounds=N   rounds under load [default: 12]

1. Under load: one worker, saturated, in turns of three seconds: alone, watched, and alone once more. What the two turns
   alone differ by is what the method cannot tell apart.
2. At rest: CPU time that the worker takes each second while nobody looks, and while all do, with the past of the load
   on the charts. It is the finer figure: what viewers cost does not depend on the traffic.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.accounting import on_cpu_ns, process_tree
from bench.benchmark import Bench
from bench.load import apply_load, generator
from bench.processes import Cores, Server
from bench.table import figure, render_table

__all__ = ["Turn", "difference", "run", "viewers"]

TURN_S = 3
REST_S = 10.0
CONNECTIONS = 32
KINDS = ("alone", "watched", "alone again")

REQUEST = b"GET /__router_dashboard/events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a saturated worker did in one turn; times in µs."""

    cpu_us_per_request: float
    requests_per_s: float
    p99_us: float
    errors: int


@contextmanager
def viewers(port: int, count: int) -> Iterator[Callable[[], int]]:
    """So many open event streams, read by a thread until the block is left; gives how many events have come.

    Raises RuntimeError when one is refused.
    """
    events, is_over = 0, threading.Event()

    def read() -> None:
        nonlocal events
        while not is_over.is_set():
            for key, _ in selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                events += key.fileobj.recv(1 << 18).count(b"\ndata: ")

    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(count):
            viewer = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            viewer.sendall(REQUEST)
            if not viewer.recv(1 << 16).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("a viewer was refused")
            selector.register(viewer, selectors.EVENT_READ)
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield lambda: events
        finally:
            is_over.set()
            reader.join()


def rest(server: Server, count: int) -> tuple[float, float]:
    """A worker without traffic: its CPU time in ms for each second, and the events that each viewer got in one."""
    _, worker = process_tree(server.pid)
    with viewers(server.port, count) as events:
        time.sleep(2.0)  # the first look reads six hours
        before_ns, events_before, began = on_cpu_ns(worker), events(), time.monotonic()
        time.sleep(REST_S)
        took_s = time.monotonic() - began
        return (on_cpu_ns(worker) - before_ns) / 1e6 / took_s, (events() - events_before) / max(1, count) / took_s


def take_turn(server: Server, count: int, cores: Cores) -> Turn:
    """Saturates the worker for a moment, with so many viewers."""
    _, worker = process_tree(server.pid)
    with viewers(server.port, count):
        before_ns = on_cpu_ns(worker)
        load = apply_load(server.port, "/", TURN_S, CONNECTIONS, cores.load)
        used_ns = on_cpu_ns(worker) - before_ns
    return Turn(used_ns / 1000 / load.requests, load.requests / load.seconds, load.p99_us, load.errors)


def in_turns(server: Server, count: int, rounds: int, cores: Cores) -> list[dict[str, Turn]]:
    """A turn of each kind, round by round."""
    kinds, found = list(KINDS), []
    for _ in range(rounds):
        kinds.append(kinds.pop(0))  # each is first, second and last equally often
        found.append({kind: take_turn(server, count if kind == "watched" else 0, cores) for kind in kinds})
    return found


def difference(rounds: Sequence[dict[str, Turn]], kind: str, base: str, name: str) -> str:
    """By how much a figure differs between two kinds of turns, in per cent: the median, and the half in the middle."""
    ratios = [100 * (getattr(turn[kind], name) / getattr(turn[base], name) - 1) for turn in rounds]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:+.1f} % ({low:+.1f} … {high:+.1f} %)"


def report(rounds: Sequence[dict[str, Turn]]) -> str:
    """A table of medians, and what the kinds differ by."""
    rows = []
    for kind in KINDS:
        turns = [turn[kind] for turn in rounds]
        cpu, served, p99 = (
            statistics.median(getattr(turn, name) for turn in turns)
            for name in ("cpu_us_per_request", "requests_per_s", "p99_us")
        )
        errors = sum(turn.errors for turn in turns)
        rows.append([kind, figure(cpu, 1), figure(served), figure(p99), str(errors)])
    titles = {"CPU per request": "cpu_us_per_request", "requests per second": "requests_per_s", "p99": "p99_us"}
    lines = [
        f"  {title:<20} watched {difference(rounds, 'watched', 'alone', name):<28} "
        f"alone again {difference(rounds, 'alone again', 'alone', name)}"
        for title, name in titles.items()
    ]
    table = render_table(("turns", "CPU µs/req", "req/s", "p99 µs", "errors"), rows)
    return "\n".join([table, "", "Beside the turns alone: the median, and where half of the rounds lie", *lines])


def run(bench: Bench) -> None:
    """Both, on one router."""
    count, cores = bench.count("--viewers"), bench.cores
    with bench.origin_and_router() as (_, us):
        print(f"Under load: {generator()}, {CONNECTIONS} connections, {count} viewers\n", flush=True)
        in_turns(us, count, 1, cores)  # to warm it up
        print(report(in_turns(us, count, bench.count("--rounds"), cores)), flush=True)
        nobody_ms, _ = rest(us, 0)
        all_ms, events = rest(us, count)
        print(f"\nAt rest: {nobody_ms:.1f} ms of CPU each second; with {count} viewers {all_ms:.1f} ms,")
        print(f"which is {(all_ms - nobody_ms) / 10:+.2f} % of a core; each got {events:.2f} frames a second.")
