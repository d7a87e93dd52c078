"""The upstream's answer on its way back through WSGI, as stock gunicorn workers need it."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic_ns

from gevent import GreenletExit

from app.errors import ClientDisconnected, RouterError, UpstreamReadTimeout, WorkerStopped
from app.proxy.flight import Flight
from app.transport.deadlines import Deadlines
from app.transport.limits import Expired
from app.upstream.messages import UpstreamAnswer

__all__ = ["WsgiBody"]


class WsgiBody:
    """The answer's body as an iterable whose `close()` ends the flight, as WSGI servers promise to call it."""

    def __init__(self, flight: Flight, upstream: UpstreamAnswer, reading: Deadlines) -> None:
        self._flight = flight
        self._upstream = upstream
        self._reading = reading
        self._cause = "client_disconnected"  # unless the end is reached, or something else is found out

    def __iter__(self) -> Iterator[bytes]:
        flight = self._flight
        ready_us = monotonic_ns() // 1000
        body = self._upstream.stream
        try:
            while not body.complete:
                data = body.receive(self._reading)
                if data:
                    yield data
                    # Only now the server has sent it, and the head before it.
                    flight.first_byte_us = flight.first_byte_us or ready_us
                    flight.bytes_out += len(data)
        except RouterError as error:
            self._cause = error.cause
            raise
        except GreenletExit:
            self._cause = WorkerStopped.cause
            raise
        except Expired as error:
            self._cause = UpstreamReadTimeout.cause
            raise UpstreamReadTimeout(f"the answer stopped for {error.limit.seconds:g} s") from error
        flight.first_byte_us = flight.first_byte_us or ready_us
        self._cause = "none"

    def close(self) -> None:
        """Called once by the server, whatever became of the answer."""
        self._upstream.end()
        has_left = self._cause == "client_disconnected"
        has_no_status = has_left and not self._flight.first_byte_us
        status = ClientDisconnected.status if has_no_status else self._upstream.status_code
        self._flight.end(status, self._cause, is_cut=not has_left and self._cause != "none")
