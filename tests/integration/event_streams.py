"""A router between blue and green, and event streams that a test writes by hand."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream
from tests.support.router_process import RouterProcess, running_router
from tests.support.waiting import wait_until

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%bTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /events HTTP/1.1\r\nHost: x.test\r\nAccept: text/event-stream\r\n\r\n"


@dataclass(frozen=True)
class Stage:
    """A router between blue and green."""

    router: RouterProcess
    blue: RawUpstream
    green: RawUpstream

    def cuts(self) -> int:
        """How many requests were cut, once none is in flight."""
        metrics: dict[str, Any] = {}

        def is_quiet() -> bool:
            metrics.update(self.router.metrics())
            return bool(metrics["in_flight"] == 0)

        wait_until(is_quiet, "nothing in flight")
        return int(metrics["cut_requests"])

    def switch(self, version: str) -> float:
        """Make the version active; returns the moment from which it holds."""
        self.router.set_state(version, blue=self.blue.port, green=self.green.port)
        return time.monotonic()


@contextlib.contextmanager
def staged(folder: Path, **settings: Any) -> Iterator[Stage]:
    """A router with both versions for the length of a `with` block, blue active."""
    with RawUpstream() as blue, RawUpstream() as green:
        with running_router(folder, blue.port, **{"graceful_timeout": 3, **settings}) as router:
            stage = Stage(router, blue, green)
            stage.switch("blue")
            yield stage


class Events:
    """An event stream that the test writes by hand."""

    def __init__(self, upstream: RawUpstream, fields: bytes = b"", request: bytes = GET) -> None:
        self._is_here = threading.Event()
        self._fields = fields
        self._request = request
        self._upstream = upstream
        self.may_end = threading.Event()

    def _handle(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.read_body()
        exchange.send(EVENTS % self._fields)
        self._is_here.set()
        exchange.hold(self.may_end)

    def open(self, router: RouterProcess) -> RawClient:
        """The client of one more such stream, which has its head."""
        self._is_here.clear()
        self._upstream.handler = self._handle
        client = router.connect()
        client.send(self._request)
        client.read_head()
        assert self._is_here.wait(5)
        return client

    def send(self, data: bytes) -> None:
        self.exchange.send(b"%x\r\n%b\r\n" % (len(data), data))
