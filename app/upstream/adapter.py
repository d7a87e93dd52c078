"""The transport adapter of a version's `requests.Session`: one HTTP/1.1 exchange per `send()`."""

from __future__ import annotations

from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import Retry

from app.errors import UpstreamReset
from app.protocol.retry import IDEMPOTENT, has_surely_read
from app.upstream.exchange import Exchange, ExchangeTimeouts
from app.upstream.fresh import Connections
from app.upstream.messages import UpstreamRequest, UpstreamResponse
from app.upstream.upstream_connection import ResponseBody, UpstreamConnection

__all__ = ["UpstreamAdapter"]


class UpstreamAdapter(HTTPAdapter):
    """Sends a request as the bytes it is and returns when the answer's head is here.

    Args:
        connections: the port's pool.
        limits: how long the waits of an exchange may last.
    """

    def __init__(self, connections: Connections, limits: ExchangeTimeouts) -> None:
        # Not super().__init__(): it would build urllib3's pools, which nothing here uses.
        self.max_retries = Retry(0)  # as HTTPAdapter's; `responses` asks for it
        self.connections = connections
        self._limits = limits

    def send(  # type: ignore[override]  # our request and answer are children of what requests expects
        self, request: UpstreamRequest, stream: bool = True, *args: Any, **kwargs: Any
    ) -> UpstreamResponse:
        """Sends `request` and returns its answer, the body still to come.

        A pooled connection that turns out to be closed is replaced by a fresh one where that cannot make the
        application execute the request twice. Raises the `UpstreamError`s, PoolExhausted, ClientDisconnected,
        and whatever reading the request's body raises.
        """
        connections = self.connections
        body, begun = request.raw_body, request.begun
        if begun is not None:
            if begun.connection is None:
                raise begun.fault or UpstreamReset("nothing was begun")
            connection = begun.connection
        else:
            connection = connections.acquire(request.times_written > 0)
            if connection.reused and (body is not None or request.raw_method not in IDEMPOTENT):
                connection = self._trusted(connection)
        while True:
            exchange = Exchange(connection, request, self._limits)
            try:
                head = exchange.run(begun)
            except BaseException as error:
                connections.discard(connection)
                request.times_written += exchange.has_written
                if not (isinstance(error, UpstreamReset) and exchange.may_be_repeated()):
                    raise
                if not connection.reused or request.has_others:
                    error.may_be_repeated = True  # but not here: it was no idle connection that had been closed
                    error.was_used = connection.reused
                    raise
                connection, begun = connections.acquire(fresh=True), None
            else:
                connection.is_trusted = body is None or has_surely_read(body.size, head.status)
                return UpstreamResponse(
                    request, head, ResponseBody(connection, head), connections, exchange.unfinished()
                )

    def _trusted(self, connection: UpstreamConnection) -> UpstreamConnection:
        """A connection that is not known to be closed, and not about to be.

        The pool drops what its watcher has seen closing. What closed since the loop last looked is found here,
        by a system call that only requests pay which could not be sent again. One on which the version may not
        have read what came last, or that is as old as those were which the version has closed, might cross with
        the request, so another takes its place. Others may use such a one; it is trusted again when they were
        answered.
        """
        while connection.reused and not (connection.is_trusted and not connection.endpoint.has_closed()):
            self.connections.discard(connection)
            connection = self.connections.acquire()
        if connection.reused and self.connections.is_doubtful(connection):
            self.connections.discard(connection)
            connection = self.connections.acquire(fresh=True)
        return connection

    def reach(self) -> None:
        """Connects, and no more. Raises what connecting raises.

        The connection is not kept: it would pass for one that has carried a request, which is sent again more freely.
        """
        self.connections.discard(self.connections.acquire(fresh=True))

    def close(self) -> None:
        """Nothing to close here: the pool belongs to who made it."""
