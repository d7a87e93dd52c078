"""Asks one backend of a version once whether it is well, over a connection of its own that is closed afterwards.

The answer is read as the router reads any answer. The socket is a plain one: it serves the command line as well as a
worker that gevent has patched, and a probe must not depend on the pool whose upstream it judges.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from typing import NamedTuple

from app.address import Address
from app.errors import UpstreamError
from app.protocol.response import ResponseHead
from app.settings.tables.app_settings import AppConfig
from app.transport.blocking import connect_blocking
from app.transport.limits import Expired, TimeLimit
from app.transport.loopback import other_address, port_is_open
from app.upstream.upstream_connection import ResponseBody, UpstreamConnection

__all__ = ["ProbeResult", "best_of", "probe"]

BODY_START_BYTES = 200
"""As much of the answer's body as helps a person to see who answered."""


class ProbeResult(NamedTuple):
    """One answer, or the lack of one. `status` is None without an answer; `reason` is empty when `ok`.

    `location` is the target of a redirect (which is never followed), `body_start` the body's first bytes.
    """

    ok: bool
    status: int | None
    latency_ms: float
    location: str = ""
    body_start: bytes = b""
    reason: str = ""

    @property
    def leads_to(self) -> str:
        """Where a redirect sends the client; "" for any other answer."""
        return self.location if self.status is not None and 300 <= self.status < 400 else ""


def best_of(results: Iterable[ProbeResult]) -> ProbeResult:
    """How a version is by the probes of its backends, at least one: well while one of them is."""
    first, *more = results
    return next((one for one in (first, *more) if one.ok), first)


def probe(address: Address, app: AppConfig) -> ProbeResult:
    """Send `GET health_path` to a backend and judge the answer; never raises.

    `health_timeout` is a deadline for all of it: a version that trickles its answer is as unwell as a
    silent one.
    """
    began = time.monotonic()
    status, location, body_start = None, "", b""
    try:
        endpoint = connect_blocking(address, TimeLimit(app.health_timeout))
        with closing(UpstreamConnection(endpoint)) as connection:
            exchange = _Exchange(connection, began, app.health_timeout)
            head = exchange.get(app.health_path, app.health_host or address.authority)
            status, location = head.status, _location(head)
            body_start = exchange.body_start(head)
        reason = "" if app.expects(status) else f"status {status}, expected {app.health_statuses}"
    except (OSError, UpstreamError, Expired, ValueError) as error:
        reason = _reason(error, address, status, app)
    latency_ms = (time.monotonic() - began) * 1000
    return ProbeResult(not reason, status, latency_ms, location, body_start, reason)


class _Exchange:
    """One request and its answer on a connection whose every wait ends `limit_s` after `began`, monotonic seconds."""

    def __init__(self, connection: UpstreamConnection, began: float, limit_s: float) -> None:
        self._connection = connection
        self._began = began
        self._limit_s = limit_s

    def get(self, path: str, host: str) -> ResponseHead:
        """The final answer's head; its body is still to be read."""
        # No "Connection: close": who closes first has the kernel remember it on his port, which is to be ours.
        fields = f"Host: {host}\r\nUser-Agent: traffic-router\r\nAccept: */*\r\n\r\n"
        endpoint = self._connection.endpoint
        endpoint.send(f"GET {path} HTTP/1.1\r\n{fields}".encode("latin-1"), self._left())
        while (head := self._connection.take_head(b"GET")) is None or head.status < 200:
            if head is None:
                data = endpoint.read(self._left())
                if not data:
                    raise ConnectionError
                endpoint.buffered += data
        return head

    def body_start(self, head: ResponseHead) -> bytes:
        """The first bytes of the body, as far as the first packet has them."""
        return ResponseBody(self._connection, head).receive(self._left())[:BODY_START_BYTES]

    def _left(self) -> TimeLimit:
        left_s = self._began + self._limit_s - time.monotonic()
        if left_s <= 0:
            raise Expired(TimeLimit(self._limit_s))
        return TimeLimit(left_s)


def _location(head: ResponseHead) -> str:
    """The value of Location, "" without one."""
    return next((value.decode("latin-1") for name, value in head.fields if name.lower() == b"location"), "")


def _reason(error: Exception, address: Address, status: int | None, app: AppConfig) -> str:
    answered = "" if status is None else f"status {status}, but "
    if isinstance(error, Expired):
        return f"{answered}no complete answer within {app.health_timeout:g} s"
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):  # the second of a Unix socket that is not there
        other = other_address(app.address)
        if address.host == app.address and port_is_open(address.port, other):
            return f'nothing listens on {address}, but on {other}: [app] address = "{other}"?'
        return f"nothing listens on {address.spot}"
    if isinstance(error, ConnectionError):
        return f"{answered}the connection was closed before the answer was complete"
    return f"{answered}{error}"
