"""Sessions to a scripted upstream, and request bodies and clients at the near end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any, ClassVar

from app.address import Address
from app.protocol.request import RequestHead, RequestParser
from app.proxy.client_request import ClientBody
from app.transport.blocking import connect_blocking
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint, wait_for_either
from app.transport.limits import TimeLimit
from app.upstream.adapter import UpstreamAdapter
from app.upstream.exchange import ExchangeTimeouts
from app.upstream.fresh import FreshConnections
from app.upstream.messages import UpstreamRequest, UpstreamResponse
from app.upstream.pool import ConnectionPool
from app.upstream.session import UpstreamSession
from app.upstream.upstream_connection import UpstreamConnection
from tests.transport.loopback import endpoint_and_peer

HOST = b"Host: x.test\r\n"


class TrackedPool:
    """A pool whose connections are all remembered, so that none outlives its test."""

    made: ClassVar[list[TrackedPool]] = []

    def __init__(self, port: int, size: int, connecting: Deadlines, idle_s: float) -> None:
        self._pool = ConnectionPool(Address("127.0.0.1", port), size, connecting, idle_s)
        self._acquired: list[UpstreamConnection] = []
        self.made.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def acquire(self, fresh: bool = False) -> UpstreamConnection:
        """As the pool does."""
        connection = self._pool.acquire(fresh)
        self._acquired.append(connection)
        return connection

    @classmethod
    def close_all(cls) -> None:
        """Closes every connection of every pool."""
        while cls.made:
            for connection in cls.made.pop()._acquired:
                connection.close()


class Version:
    """A worker's view of one version: a pool and a session to its port, as the worker makes them."""

    def __init__(
        self,
        port: int,
        *,
        size: int = 4,
        idle_s: float = 60,
        connecting_s: float = 10,
        reading_s: float = 10,
        receiving_s: float = 10,
        sending_s: float = 10,
    ) -> None:
        self.port = port
        self.reading = Deadlines(reading_s)
        self.pool = TrackedPool(port, size, Deadlines(connecting_s), idle_s)
        limits = ExchangeTimeouts(self.reading, Deadlines(receiving_s), Deadlines(sending_s), wait_for_either)
        self.session = UpstreamSession(UpstreamAdapter(self.pool, limits))

    def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Sends a request; its answer's body is still on the way."""
        return self.session.send(request)

    def ask(self, target: bytes = b"/", method: bytes = b"GET") -> bytes:
        """Sends a request without a body and reads the whole answer's body."""
        return self.read(self.send(plain(self.port, target, method)))

    def read(self, answer: UpstreamResponse) -> bytes:
        """The whole body of an answer; its connection is given back."""
        parts = []
        try:
            while not answer.stream.complete:
                parts.append(answer.stream.receive(self.reading))
        finally:
            answer.end()
        return b"".join(parts)


def blocking_session(port: int, seconds: float = 10) -> UpstreamSession:
    """A session as plain Python gets it: one connection for each exchange, and no gevent."""
    limit = TimeLimit(seconds)
    connections = FreshConnections(Address("127.0.0.1", port), connect_blocking, limit)
    return UpstreamSession(UpstreamAdapter(connections, ExchangeTimeouts(limit, limit, limit)))


def plain(port: int, target: bytes = b"/", method: bytes = b"GET", lines: bytes = HOST) -> UpstreamRequest:
    """A request without a body and without a client who waits for it."""
    return UpstreamRequest(
        Address("127.0.0.1", port), method, target, method + b" " + target + b" HTTP/1.1\r\n" + lines + b"\r\n"
    )


class Client:
    """A client that has sent a request's head: its end as the router holds it, and its own."""

    def __init__(self, endpoint: Endpoint, peer: socket.socket) -> None:
        self.endpoint = endpoint
        self.peer = peer

    def request(
        self,
        port: int,
        lines: bytes = b"",
        *,
        method: bytes = b"GET",
        upgrades: bytes = b"",
        max_body_bytes: int = 0,
        rate_floor: int = 0,
    ) -> UpstreamRequest:
        """The client's request as the router sends it on, with the body that its field lines announce."""
        raw = method + b" / HTTP/1.1\r\n" + HOST + lines + b"\r\n"
        head: RequestHead = RequestParser(200).parse(raw)
        body = ClientBody(self.endpoint, head, max_body_bytes, rate_floor) if head.has_body else None
        return UpstreamRequest(Address("127.0.0.1", port), method, b"/", raw, body, self.endpoint, True, upgrades)


@contextlib.contextmanager
def client() -> Iterator[Client]:
    """A connected client, gone at the end."""
    with endpoint_and_peer() as (endpoint, peer):
        yield Client(endpoint, peer)
