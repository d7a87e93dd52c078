"""The transport adapter of a version's `requests.Session`: one HTTP/1.1 exchange per `send()`."""

from __future__ import annotations

from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import Retry

from app.errors import UpstreamReset
from app.protocol.retry import may_send_again
from app.transport.limits import Limit
from app.upstream.connection import UpstreamConnection
from app.upstream.exchange import Exchange, WaitForEither
from app.upstream.fresh import Connections
from app.upstream.messages import UpstreamAnswer, UpstreamRequest

__all__ = ["UpstreamAdapter"]


class UpstreamAdapter(HTTPAdapter):
    """Sends a request as the bytes it is and returns when the answer's head is here.

    Args:
        connections: the port's pool.
        reading: `Deadlines` (or a `TimeLimit`) of `read_timeout`.
        body: the same for a client that sends its body.
        wait_for_either: how to wait for the client and the upstream at once.
    """

    def __init__(
        self,
        connections: Connections,
        reading: Limit,
        body: Limit | None = None,
        wait_for_either: WaitForEither | None = None,
    ) -> None:
        # Not super().__init__(): it would build urllib3's pools, which nothing here uses.
        self.max_retries = Retry(0)  # as HTTPAdapter's; `responses` asks for it
        self.connections = connections
        self._reading = reading
        self._body = body or reading
        self._wait = wait_for_either

    def send(  # type: ignore[override]  # our request and answer are children of what requests expects
        self, request: UpstreamRequest, stream: bool = True, *args: Any, **kwargs: Any
    ) -> UpstreamAnswer:
        """Sends `request` and returns its answer, the body still to come.

        A pooled connection that turns out to be closed is replaced by a fresh one where that cannot make the
        application execute the request twice. Raises the `UpstreamError`s, PoolExhausted, ClientDisconnected,
        and whatever reading the request's body raises.
        """
        connection = self._usable(request.raw_method)
        while True:
            endpoint = connection.endpoint
            sent, received = endpoint.sent, endpoint.received
            exchange = Exchange(self.connections, connection, request, self._reading, self._body, self._wait)
            try:
                return exchange.run()
            except UpstreamReset:
                again = connection.reused and may_send_again(
                    request.raw_method,
                    exchange.body_consumed,
                    endpoint.sent - sent,
                    endpoint.received - received,
                )
                self.connections.discard(connection)
                if not again:
                    raise
            except BaseException:
                self.connections.discard(connection)
                raise
            connection = self.connections.acquire(fresh=True)

    def _usable(self, method: bytes) -> UpstreamConnection:
        """A connection that is not known to be closed.

        The pool drops what its watcher has seen closing. What closed since the loop last looked is found here,
        by a system call that only requests pay which could not be sent again.
        """
        connection = self.connections.acquire()
        while connection.reused and not may_send_again(method, False, 1, 0) and connection.endpoint.has_closed():
            self.connections.discard(connection)
            connection = self.connections.acquire()
        return connection

    def close(self) -> None:
        """Nothing to close here: the pool belongs to who made it."""
