"""What each piece of the way of a request costs by itself, without sockets.

Usage: bench-layers

CPU time of one call, best and median of several loops; compiled where a router would be. The pieces do not add up
to a request: what calls them, the greenlets and the kernel come on top.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from app.compiled import describe
from app.metrics.shared import SharedMetrics, monotonic_us
from app.protocol.forwarding import Forwarding
from app.protocol.heads import client_head, upstream_head
from app.protocol.request import RequestParser
from app.protocol.response import ResponseParser
from app.proxy.rewrite.request_ids import request_ids
from app.state.watch import StateWatch
from app.transport.deadlines import Deadlines
from bench.benchmark import Bench
from bench.router import write_state
from bench.start import SETTLE_S
from bench.table import figure, render_table

__all__ = ["pieces", "run"]

CALLS = 20_000
LOOPS = 9

MANY = 1000
"""So many heads that none of them is remembered when it comes again."""

MINIMAL = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:5004\r\n\r\n"
BROWSER = (
    b"GET /articles/2026/a-page?from=list HTTP/1.1\r\nHost: www.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://www.example.com/articles\r\n"
    b"Connection: keep-alive\r\nCookie: session=Zm9vYmFyYmF6; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\nConnection: keep-alive\r\n"
    b"Content-Type: text/html; charset=utf-8\r\nContent-Length: 12\r\n\r\n"
)
ADDED = b"X-Request-ID: 0123456789abcdef-1a2b\r\n"


def pieces(folder: Path, metrics: SharedMetrics) -> dict[str, Callable[[], object]]:
    """The pieces by name, in the order in which a request meets them."""
    requests, answers = RequestParser(max_fields=200), ResponseParser()
    forwarding = Forwarding(b"127.0.0.1", b"http", 5004, 0)
    writer, watch, deadlines = metrics.claim_slot(os.getpid()), StateWatch(write_state(folder, 1)), Deadlines(30)
    ids, greenlet = request_ids(), object()
    time.sleep(SETTLE_S)
    watch.current()

    def one_wait() -> None:
        deadlines.add(greenlet)
        deadlines.discard(greenlet)

    def record() -> None:
        now_us = monotonic_us()
        row = writer.start(0, b"GET", b"/articles/2026/a-page", now_us)
        writer.finish(row, 0, status=200, bytes_out=12, total_us=900, first_byte_us=850, upstream_us=800)

    def others(head: bytes) -> Iterator[bytes]:
        return itertools.cycle([head[:-2] + b"X-Number: %d\r\n\r\n" % number for number in range(MANY)])

    minimals, browsers, lengths = others(MINIMAL), others(BROWSER), others(ANSWER)
    minimal, browser, answer = requests.parse(MINIMAL), requests.parse(BROWSER), answers.parse(ANSWER, b"GET")
    return {
        "request head read and checked, two fields": lambda: requests.parse(next(minimals)),
        "request head read and checked, ten fields": lambda: requests.parse(next(browsers)),
        "request head that came before": lambda: requests.parse(BROWSER),
        "request id made": lambda: next(ids),
        "state file looked at": watch.current,
        "forwarding fields": lambda: forwarding.lines(browser),
        "request head written, nothing dropped": lambda: upstream_head(minimal, ADDED, b""),
        "request head written, one line dropped": lambda: upstream_head(browser, ADDED, b""),
        "deadline set and lifted": one_wait,
        "answer head read and checked, six fields": lambda: answers.parse(next(lengths), b"GET"),
        "answer head that came before": lambda: answers.parse(ANSWER, b"GET"),
        "answer head written, one line dropped": lambda: client_head(answer, ADDED),
        "metrics: claimed and recorded": record,
    }


def cost_us(piece: Callable[[], object]) -> tuple[float, float]:
    """CPU microseconds of a call: (best, median) over the loops, the loop itself taken off."""
    costs = [(_loop_us(piece) - _loop_us(_nothing)) / CALLS for _ in range(LOOPS)]
    return min(costs), statistics.median(costs)


def _loop_us(piece: Callable[[], object]) -> float:
    began = time.process_time_ns()
    for _ in itertools.repeat(None, CALLS):
        piece()
    return (time.process_time_ns() - began) / 1000


def _nothing() -> None:
    """What is taken off."""


def run(bench: Bench) -> None:
    """All pieces."""
    rows = []
    print(f"router: {describe(os.environ)}")
    metrics = SharedMetrics.create_or_attach(bench.folder / "router_metrics.mmap", 16)
    for name, piece in pieces(bench.folder, metrics).items():
        rows.append([name, *(figure(max(0.0, cost), 2) for cost in cost_us(piece))])
    metrics.close()
    print(render_table(("piece", "best µs", "median µs"), rows))
