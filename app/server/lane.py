"""The lane: a connection's ordinary requests, served without a switch of greenlets.

An ordinary request has a head that arrives at once and no body, passes the filters without a wait, finds an idle
connection to its version, and gets an answer that arrives at once. The lane stands where a connection's greenlet would:
an `Endpoint` that can be read calls `switch`, a deadline that is over calls `throw`, and all is done there, in the hub.
It never waits. For whatever is not ordinary it wakes the greenlet, which goes on from exactly where the lane has come
to. The decisions are those of the ordinary way, which the lane calls as the greenlet does: how a head is read, what the
filters say, what is written into heads, what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from gevent import get_hub, getcurrent

from app.errors import RateLimited, RouterError
from app.protocol.heads import client_head
from app.protocol.request import RequestHead
from app.protocol.response import Framing, ResponseHead
from app.proxy.client_request import ClientRequest
from app.proxy.replies.local_reply import LocalReply
from app.proxy.transaction import Transaction
from app.transport.endpoint import Endpoint
from app.upstream.exchange import PIPELINED_BYTES, poll_client
from app.upstream.messages import Begun
from app.upstream.upstream_connection import UpstreamConnection

if TYPE_CHECKING:
    from app.server.client_connection import ClientConnection
    from app.server.serving import Serving

__all__ = ["Lane", "Proceed"]

Proceed = Callable[[], bool]
"""What is left for the greenlet to do; returns whether the connection may carry another request."""


class Lane:
    """The ordinary requests of one connection.

    Args:
        connection: whose greenlet waits meanwhile, and does what the lane leaves.
        client: the client's end.
        serving: what all connections of the worker share.
    """

    __slots__ = ("_client", "_connection", "_greenlet", "_hub", "_is_in_it", "_serving", "_transaction", "_upstream")

    def __init__(self, connection: ClientConnection, client: Endpoint, serving: Serving) -> None:
        self._connection = connection
        self._client = client
        self._serving = serving
        self._hub: Any = get_hub()  # gevent has no types
        self._greenlet: Any = None
        self._is_in_it = False  # the greenlet waits, and the lane serves
        self._transaction: Transaction | None = None  # of the request that is in flight on `_upstream`
        self._upstream: UpstreamConnection | None = None

    # --- the greenlet's side ------------------------------------------------------------------------------

    def serve(self) -> Proceed | None:
        """Waits for requests and serves the ordinary ones; returns how the greenlet is to go on.

        None: what has arrived is in the client's buffer, and is to be read as if there were no lane.
        Raises OSError, Expired, WorkerStopped when the wait for a request ends.
        """
        self._greenlet = getcurrent()
        self._wait_for_request()
        try:
            proceed: Proceed | None = self._hub.switch()
            return proceed
        except BaseException as error:
            transaction, upstream = self._transaction, self._upstream
            self._leave()
            if transaction is None or transaction.is_over:
                raise
            return self._resumed(transaction, Begun(upstream, fault=error))

    def _leave(self) -> None:
        """From here on the greenlet has the connection to itself."""
        serving, upstream = self._serving, self._upstream
        self._transaction = None
        self._is_in_it = False
        self._client.listen(None)
        serving.idle.discard(self)
        if upstream is not None:
            upstream.endpoint.listen(None)
            serving.timeouts.reading.discard(self)
            self._upstream = None

    def _resumed(self, transaction: Transaction, begun: Begun) -> Proceed:
        forwarder = self._serving.forwarder
        resume = partial(forwarder.forward, transaction.request, transaction, begun)
        return partial(self._connection.answer, transaction.request, resume)

    # --- the hub's side -----------------------------------------------------------------------------------

    def switch(self, endpoint: Endpoint) -> None:
        """Bytes, or the end, can be read on one of the ends."""
        try:
            if self._upstream is None:
                self._take_request()
            elif endpoint is self._client:
                self._hear_client(self._upstream)
            else:
                self._take_response(self._upstream)
        except Exception as error:  # the hub would only print it
            if self._is_in_it:
                self.throw(error)
            else:
                raise

    def throw(self, error: BaseException) -> None:
        """The wait has lasted too long, or is to end for another reason."""
        self._greenlet.throw(error)

    def _proceed(self, proceed: Proceed | None) -> None:
        self._leave()
        self._greenlet.switch(proceed)

    def _wait_for_request(self) -> None:
        self._is_in_it = True
        self._serving.idle.add(self)
        self._client.listen(self)

    def _take_request(self) -> None:
        """Reads what has come; a whole head of an ordinary request goes on, all else is the greenlet's."""
        client, connection, serving = self._client, self._connection, self._serving
        raw = client.receive()
        if raw is None:
            client.listen(self)
            return
        size = len(raw)
        if size < 4 or raw.find(b"\r\n\r\n") != size - 4 or size > serving.ordinary_bytes:
            client.buffered = raw
            self._proceed(None)
            return
        started_us = monotonic_ns() // 1000
        try:
            head = serving.parser.parse(raw)
        except RouterError:
            client.buffered = raw
            self._proceed(None)
            return
        # One that may be sent again may go on any connection that is idle (`app.upstream.adapter`).
        if not head.is_simple or head.target.startswith(serving.own_prefixes):
            self._proceed(partial(connection.serve_head, head, started_us))
        else:
            self._forward(head, started_us)

    def _forward(self, head: RequestHead, started_us: int) -> None:
        """Past the filters, and out on an idle connection."""
        client, connection, serving = self._client, self._connection, self._serving
        serving.idle.discard(self)
        persist = head.keep_alive and serving.keeps_alive
        request = ClientRequest(head, None, client, connection.forwarding, started_us, persist)
        connection.request = request
        forwarder = serving.forwarder
        transaction = self._transaction = forwarder.transaction_of(request)
        upstream = None
        verdict = forwarder.chain.ask(transaction)
        if verdict is None:
            target = transaction.target
            if target.circuit is None and target.connections is not None:
                upstream = target.connections.take_idle()
        elif isinstance(verdict, RateLimited):
            self._refuse(transaction, verdict)
            return
        if upstream is None:
            self._proceed(partial(connection.answer, request, partial(forwarder.forward, request, transaction)))
            return
        self._upstream = upstream
        data = forwarder.rewriter.request_head(transaction)
        transaction.sent_us = monotonic_ns() // 1000
        endpoint: Endpoint = upstream.endpoint
        try:
            sent = endpoint.send_some(data)
        except OSError as error:
            self._resume(Begun(upstream, fault=error, has_written=False))
            return
        if sent < len(data):
            self._resume(Begun(upstream, unsent=data[sent:]))
            return
        serving.timeouts.reading.add(self)
        endpoint.listen(self)
        client.listen(self)

    def _resume(self, begun: Begun) -> None:
        """The greenlet goes on with the exchange."""
        assert self._transaction is not None
        self._proceed(self._resumed(self._transaction, begun))

    def _hear_client(self, upstream: UpstreamConnection) -> None:
        """While the answer is awaited: the client's next request, or that it is gone."""
        client = self._client
        try:
            poll_client(client)
        except RouterError as error:
            self._resume(Begun(upstream, fault=error))
            return
        if len(client.buffered) <= PIPELINED_BYTES:
            client.listen(self)

    def _take_response(self, upstream: UpstreamConnection) -> None:
        """Reads what has come; a whole ordinary answer goes on, all else is the greenlet's."""
        transaction, endpoint = self._transaction, upstream.endpoint
        assert transaction is not None
        try:
            data = endpoint.receive()
        except OSError as error:
            self._resume(Begun(upstream, fault=error))
            return
        if data is None:
            endpoint.listen(self)
            return
        endpoint.buffered = data
        try:
            head = upstream.take_head(transaction.request.head.method) if data else None
            if head is not None and head.framing is Framing.LENGTH and not endpoint.buffered:
                # Many servers send head and body one after the other, so the body may be here by now.
                more = endpoint.receive() or b""
                endpoint.buffered, data = more, data + more
        except (RouterError, OSError):
            head = None
        body, endpoint.buffered = endpoint.buffered, b""
        if head is None or not _is_ordinary(head, len(body)):
            upstream.forget_search()
            self._resume(Begun(upstream, received=data))
            return
        self._answer(transaction, upstream, head, body)

    def _answer(self, transaction: Transaction, upstream: UpstreamConnection, head: ResponseHead, body: bytes) -> None:
        """Gives the connection back, sends the answer, records the request, and waits for the next."""
        client, connection, serving = self._client, self._connection, self._serving
        transaction.head_us = transaction.first_byte_us = monotonic_ns() // 1000
        request = transaction.request
        lines = serving.forwarder.rewriter.response_lines(transaction, head)
        if not request.persist:
            lines += b"Connection: close\r\n"
        first = client_head(head, lines)
        size = len(first)
        first += body
        serving.timeouts.reading.discard(self)
        self._upstream = None
        upstream.is_trusted = True
        connections = transaction.target.connections
        assert connections is not None
        if head.keep_alive:
            connections.release(upstream)
        else:
            connections.discard(upstream)
        try:
            sent = client.send_some(first)
        except OSError:
            sent = 0  # the greenlet hears it again
        if sent < len(first):
            request.promised = request.persist
            client.listen(None)
            rest = partial(serving.forwarder.send_rest, transaction, head, first, size, sent)
            self._proceed(partial(connection.answer, request, rest))
            return
        transaction.bytes_out += len(body)
        transaction.end(head.status)
        self._end(request)

    def _refuse(self, transaction: Transaction, error: RateLimited) -> None:
        """Answers a request that goes no further, without the long way: there may be a flood of them."""
        request, forwarder = transaction.request, self._serving.forwarder
        data, body = forwarder.refusal(transaction, error)
        try:
            sent = self._client.send_some(data)
        except OSError:
            sent = 0  # the greenlet hears it again
        if sent < len(data):
            reply = forwarder.reply(transaction, error)
            reply.begun = data, body, sent
            self._proceed(partial(self._connection.answer, request, partial(_as_it_is, reply)))
            return
        transaction.bytes_out = body
        transaction.end(error.status, error.cause)
        self._end(request)

    def _end(self, request: ClientRequest) -> None:
        """An answer has gone out: waits for the next request, if there may be one."""
        self._transaction = self._connection.request = None
        if not request.persist:
            self._proceed(_ends)
        elif self._client.buffered:
            self._proceed(None)
        else:
            self._wait_for_request()


def _is_ordinary(head: ResponseHead, size: int) -> bool:
    """Whether the answer is here as a whole: its head, and `size` bytes behind it."""
    if head.status < 200 or head.status == 426:
        return False
    if head.framing is Framing.LENGTH:
        return size == head.content_length
    return head.framing is Framing.NONE and not size


def _as_it_is(reply: LocalReply) -> LocalReply:
    return reply


def _ends() -> bool:
    return False
