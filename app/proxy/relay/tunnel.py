"""What follows 101 Switching Protocols: bytes both ways until both sides have ended (RFC 9110 §7.8)."""

from __future__ import annotations

import os
from time import monotonic, monotonic_ns
from typing import Any

import gevent

from app.errors import ClientDisconnected, HandoverCut, WorkerStopped
from app.protocol.fields import split_list
from app.protocol.heads import client_head
from app.protocol.websocket import SERVICE_RESTART, close_frame
from app.proxy.relay.websocket_frames import Way
from app.proxy.transaction import Transaction
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint
from app.transport.limits import Expired
from app.upstream.messages import UpstreamResponse

__all__ = ["Tunnel"]


class _Ended(Exception):
    """Raised in one direction of a tunnel when the other has failed, or in both when it is cut."""


class Tunnel:
    """A WSGI response that turns both connections into one byte stream each way.

    Under a stock gunicorn worker there is no endpoint to tunnel to; the forwarder does not ask for an upgrade there.

    Args:
        transaction: ended when the tunnel is.
        upstream: the 101 answer.
        added: our own field lines for the client, each with its CRLF.
        idle: limit of silence in both directions.

    Attributes:
        version: the index of the version at the other end.
    """

    __slots__ = (
        *("_added", "_cut_by", "_down", "_greenlet", "_idle", "_last", "_transaction", "_up", "_upstream", "version"),
    )

    def __init__(self, transaction: Transaction, upstream: UpstreamResponse, added: bytes, idle: Deadlines) -> None:
        self.version = transaction.target.version
        self._transaction = transaction
        self._upstream = upstream
        self._added = added
        self._idle = idle
        self._last = 0.0  # monotonic seconds when bytes last moved, either way
        self._cut_by = ""  # the cause
        self._greenlet: Any = None  # gevent has no types
        self._up: Way | None = None  # of a WebSocket: its frames
        self._down: Way | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The WSGI application of this one answer."""
        transaction = self._transaction
        request = transaction.request
        client = request.endpoint
        assert client is not None
        request.answered = True
        transaction.lift_limit()
        request.persist = False
        upstream: Endpoint = self._upstream.take_connection().endpoint
        if split_list(self._upstream.head.upgrade) == [b"websocket"]:
            self._up = Way(upstream, close_frame(SERVICE_RESTART, os.urandom(4)))
            self._down = Way(client, close_frame(SERVICE_RESTART))
        self._greenlet = gevent.getcurrent()
        transaction.stream = "finished"
        transaction.long_lived.add(self)
        try:
            self._send_head(client)
            self._run(client, upstream)
        except (OSError, Expired, _Ended):
            pass  # one side is gone or both are silent, which is how tunnels end
        except WorkerStopped as error:
            self._cut_by = error.cause
        finally:
            transaction.long_lived.discard(self)
            for end in (upstream, client):
                if self._cut_by:
                    end.abort()  # nobody shall take it for all that there was to be said
                end.close()
            if self.is_over:
                transaction.stream = "handed_over"
            if transaction.first_byte_us:
                transaction.end(101, self._cut_by or "none", bool(self._cut_by))
            else:
                transaction.end(ClientDisconnected.status, ClientDisconnected.cause)
        return ()

    def _send_head(self, client: Endpoint) -> None:
        transaction = self._transaction
        head = client_head(self._upstream.head, self._added + b"Connection: Upgrade\r\n")
        transaction.first_byte_us = monotonic_ns() // 1000
        try:
            client.send(head, self._idle)
        except BaseException:
            transaction.sent_in_part(client.taken, len(head), len(head), 0)
            raise

    # --- hand-over ----------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether both sides have been sent their Close frame."""
        return self._up is not None and self._down is not None and self._up.is_over and self._down.is_over

    def hand_over(self) -> None:
        """Sends both sides of a WebSocket a Close frame between two frames; other protocols have no such thing."""
        for way in (self._up, self._down):
            if way is not None:
                way.end()

    def cut(self) -> None:
        """Ends the tunnel wherever it is; one whose two sides have said goodbye is no loss."""
        self._cut_by = "" if self.is_over else HandoverCut.cause
        gevent.kill(self._greenlet, _Ended())

    # --- bytes --------------------------------------------------------------------------------------------

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
        except (OSError, Expired, _Ended):
            client.interrupt(_Ended())

    def _pump(self, source: Endpoint, target: Endpoint, upwards: bool) -> None:
        """Moves bytes one way; at the end of the source tells the target that nothing more comes (half-close)."""
        way = self._up if upwards else self._down
        data = source.buffered
        source.buffered = b""
        while True:
            if data:
                if way is None:
                    target.send(data, self._idle)
                elif not way.pass_on(data, self._idle) and self._is_said():
                    raise _Ended
                self._last = monotonic()
                if upwards:
                    self._transaction.bytes_in += len(data)
                else:
                    self._transaction.bytes_out += len(data)
            data = self._read(source)
            if not data:
                target.end_writing()
                return

    def _is_said(self) -> bool:
        """Whether both sides of a WebSocket have answered our Close frames with their own."""
        return self._up is not None and self._down is not None and self._up.has_closed and self._down.has_closed

    def _read(self, source: Endpoint) -> bytes:
        """The next bytes; silence counts only when the other direction is silent as well. Raises Expired."""
        while True:
            try:
                return source.read(self._idle)
            except Expired:
                if monotonic() - self._last >= self._idle.seconds:
                    raise
