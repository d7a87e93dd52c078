"""One short turn of load: kinds of requests that take turns on one router can be told apart on a noisy machine."""

from __future__ import annotations

from bench.accounting import on_cpu_ns, process_tree
from bench.closed_loop import run_load
from bench.processes import Cores, Server, on_cores

__all__ = ["CONNECTIONS", "take_turn"]

CONNECTIONS = 32
TURN_S = 0.1


def take_turn(server: Server, path: str, cores: Cores, begins: bytes = b"HTTP/1.1 200") -> float:
    """Loads a router for a moment; returns its worker's CPU time for each request, in µs.

    `begins` is how each answer does. A moment in which a busy machine let nobody work is tried again.
    """
    _, worker = process_tree(server.pid)
    while True:
        before_ns = on_cpu_ns(worker)
        with on_cores(cores.load):
            load = run_load(server.port, path, TURN_S, CONNECTIONS, begins=begins)
        if load.requests > CONNECTIONS:
            return (on_cpu_ns(worker) - before_ns) / 1000 / load.requests
