"""What a worker's memory does under many requests, long downloads and idle connections.

Usage: bench-memory [--requests=N] [--downloads=N] [--idle=N]

Options:
  --requests=N   small requests in all [default: 200000]
  --downloads=N  downloads of 1 GiB at once, done once the requests are through [default: 4]
  --idle=N       connections kept open and silent [default: 5000]
"""

from __future__ import annotations

import resource
import socket
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.accounting import cpu_seconds, memory, process_tree
from bench.benchmark import Bench
from bench.load import apply_load, generator
from bench.origin import SIZES
from bench.processes import Cores, Server
from bench.router import worker_figures

__all__ = ["growth_per_100k", "run"]

SETTLED_FROM = 100_000
"""Requests after which every cache is filled and every pool has its size."""

IDLE_FOR_S = 5.0

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


def growth_per_100k(points: Sequence[tuple[int, int]], from_requests: int = SETTLED_FROM) -> float | None:
    """KiB that the memory grew by for each 100 000 requests: the slope of a line through the later points.

    Args:
        points: (requests so far, resident KiB), in order.
        from_requests: points before so many requests are left out.

    Returns None when fewer than three points are left.
    """
    later = [point for point in points if point[0] >= from_requests]
    if len(later) < 3:
        return None
    requests, kib = zip(*later, strict=True)
    return statistics.linear_regression(requests, kib).slope * 100_000


def worker_pid(server: Server) -> int:
    """The pid of the only worker."""
    return process_tree(server.pid)[-1]


def report_requests(server: Server, total: int, cores: Cores) -> None:
    """Requests in steps, with the memory after each."""
    worker = worker_pid(server)
    print(f"  after {0:9,} requests: {memory(worker).rss_kib / 1024:6.1f} MiB")
    points: list[tuple[int, int]] = []
    served = shown = 0
    while served < total:
        errors = apply_load(server.port, "/", 1, 64, cores.load).errors
        served = sum(figures["requests"] for figures in worker_figures(server.port))
        points.append((served, memory(worker).rss_kib))
        if served - shown >= total / 10 or served >= total or errors:
            shown = served
            note = f", {errors} errors" if errors else ""
            print(f"  after {served:9,} requests: {points[-1][1] / 1024:6.1f} MiB{note}", flush=True)
    growth = growth_per_100k(points)
    if growth is not None:
        print(f"  growth from request {SETTLED_FROM:,} on: {growth:+.0f} KiB for each 100 000 requests")


def download(port: int, received: list[int]) -> None:
    """Fetches 1 GiB and notes how much came."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(REQUEST.replace(b"GET /", b"GET /1g"))
        buffer, total = bytearray(1 << 20), 0
        head = connection.recv(16384)
        total += len(head) - head.index(b"\r\n\r\n") - 4
        while total < SIZES["/1g"] and (count := connection.recv_into(buffer)):
            total += count
    received.append(total)


def report_downloads(server: Server, count: int) -> None:
    """Several long downloads at once; the peak of the worker's memory while they run."""
    worker, received = worker_pid(server), list[int]()
    threads = [threading.Thread(target=download, args=(server.port, received), daemon=True) for _ in range(count)]
    before_kib = peak_kib = memory(worker).rss_kib
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak_kib = max(peak_kib, memory(worker).rss_kib)
        time.sleep(0.05)
    took_s = time.monotonic() - began
    whole = sum(total == SIZES["/1g"] for total in received)
    after_kib = memory(worker).rss_kib
    print(f"  {whole} of {count} downloads of 1 GiB at once came whole, {count / took_s:.1f} GiB/s")
    print(f"  before {before_kib / 1024:.1f}, at most {peak_kib / 1024:.1f}, after {after_kib / 1024:.1f} MiB")


def report_idle(server: Server, count: int) -> None:
    """Connections that have had one answer and stay open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(count, soft - 100)
    worker = worker_pid(server)
    before_kib = memory(worker).rss_kib
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            connection.sendall(REQUEST)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200"), "an idle connection was refused"
        time.sleep(1)
        grown_kib = memory(worker).rss_kib - before_kib
        before_s = cpu_seconds(worker)
        time.sleep(IDLE_FOR_S)
        share = (cpu_seconds(worker) - before_s) / IDLE_FOR_S
    print(f"  {count:,} idle connections: {grown_kib / max(1, count):.1f} KiB each, {share:.1%} of a core")


def run(bench: Bench) -> None:
    """All three, on one router."""
    print(f"Resident memory of one worker; load: {generator()}")
    with bench.origin_and_router() as (_, us):
        report_requests(us, bench.count("--requests"), bench.cores)
        report_downloads(us, bench.count("--downloads"))
        report_idle(us, bench.count("--idle"))
