"""What follows 101 Switching Protocols: bytes both ways until both sides have ended (RFC 9110 §7.8)."""

from __future__ import annotations

from time import monotonic, monotonic_ns
from typing import Any

import gevent

from app.protocol.heads import client_head
from app.proxy.flight import Flight
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint
from app.transport.limits import Expired
from app.upstream.messages import UpstreamAnswer

__all__ = ["Tunnel"]


class _Ended(Exception):
    """Raised in one direction of a tunnel when the other has failed."""


class Tunnel:
    """A WSGI response that turns both connections into one byte stream each way.

    Under a stock gunicorn worker there is no endpoint to tunnel to; the forwarder does not ask for an upgrade there.

    Args:
        flight: ended when the tunnel is.
        upstream: the 101 answer.
        added: our own field lines for the client, each with its CRLF.
        idle: limit of silence in both directions.
    """

    __slots__ = ("_added", "_flight", "_idle", "_last", "_upstream")

    def __init__(self, flight: Flight, upstream: UpstreamAnswer, added: bytes, idle: Deadlines) -> None:
        self._flight = flight
        self._upstream = upstream
        self._added = added
        self._idle = idle
        self._last = 0.0  # monotonic seconds when bytes last moved, either way

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The WSGI application of this one answer."""
        flight = self._flight
        request = flight.request
        client = request.endpoint
        assert client is not None
        request.answered = True
        flight.lift_limit()
        request.persist = False
        upstream: Endpoint = self._upstream.stream.connection.endpoint
        try:
            added = self._added + b"Connection: Upgrade\r\n"
            flight.first_byte_us = monotonic_ns() // 1000
            client.send(client_head(self._upstream.head, added), self._idle)
            self._run(client, upstream)
        except (OSError, Expired, _Ended):
            pass  # one side is gone or both are silent, which is how tunnels end
        finally:
            self._upstream.discard()
            client.close()
            flight.end(101)
        return ()

    def _run(self, client: Endpoint, upstream: Endpoint) -> None:
        """Both directions, each in its own greenlet, until both have ended or one has failed."""
        downwards = gevent.spawn(self._pump_down, upstream, client)
        try:
            self._pump(client, upstream, True)
            downwards.join()
        finally:
            downwards.kill()

    def _pump_down(self, upstream: Endpoint, client: Endpoint) -> None:
        try:
            self._pump(upstream, client, False)
        except (OSError, Expired):
            client.interrupt(_Ended())

    def _pump(self, source: Endpoint, target: Endpoint, upwards: bool) -> None:
        """Moves bytes one way; at the end of the source tells the target that nothing more comes (half-close)."""
        data = source.buffered
        source.buffered = b""
        while True:
            if data:
                target.send(data, self._idle)
                self._last = monotonic()
                if upwards:
                    self._flight.bytes_in += len(data)
                else:
                    self._flight.bytes_out += len(data)
            data = self._read(source)
            if not data:
                target.end_writing()
                return

    def _read(self, source: Endpoint) -> bytes:
        """The next bytes; silence counts only when the other direction is silent as well. Raises Expired."""
        while True:
            try:
                return source.read(self._idle)
            except Expired:
                if monotonic() - self._last >= self._idle.seconds:
                    raise
