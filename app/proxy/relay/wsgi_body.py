"""The upstream's answer on its way back through WSGI, as stock gunicorn workers need it."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic_ns

from gevent import GreenletExit

from app.errors import ClientDisconnected, RouterError, UpstreamReadTimeout, WorkerStopped
from app.proxy.transaction import Transaction
from app.transport.deadlines import Deadlines
from app.transport.limits import Expired
from app.upstream.messages import UpstreamResponse

__all__ = ["WsgiBody"]


class WsgiBody:
    """The answer's body as an iterable whose `close()` ends the transaction, as WSGI servers promise to call it."""

    def __init__(self, transaction: Transaction, upstream: UpstreamResponse, reading: Deadlines) -> None:
        self._transaction = transaction
        self._upstream = upstream
        self._reading = reading
        self._cause = "client_disconnected"  # unless the end is reached, or something else is found out

    def __iter__(self) -> Iterator[bytes]:
        transaction = self._transaction
        ready_us = monotonic_ns() // 1000
        body = self._upstream.stream
        try:
            while not body.complete:
                data = body.receive(self._reading)
                if data:
                    yield data
                    # Only now the server has sent it, and the head before it.
                    transaction.first_byte_us = transaction.first_byte_us or ready_us
                    transaction.bytes_out += len(data)
        except RouterError as error:
            self._cause = error.cause
            raise
        except GreenletExit:
            self._cause = WorkerStopped.cause
            raise
        except Expired as error:
            self._cause = UpstreamReadTimeout.cause
            raise UpstreamReadTimeout(f"the answer stopped for {error.limit.seconds:g} s") from error
        transaction.first_byte_us = transaction.first_byte_us or ready_us
        self._cause = "none"

    def close(self) -> None:
        """Called once by the server, whatever became of the answer."""
        self._upstream.end()
        has_left = self._cause == "client_disconnected"
        has_no_status = has_left and not self._transaction.first_byte_us
        status = ClientDisconnected.status if has_no_status else self._upstream.status_code
        self._transaction.end(status, self._cause, is_cut=not has_left and self._cause != "none")
