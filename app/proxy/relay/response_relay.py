"""The upstream's answer on its way back to the client."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import gevent

from app.errors import (
    ClientDisconnected,
    RouterError,
    UpstreamDeadline,
    UpstreamError,
    UpstreamReadTimeout,
    UpstreamTruncated,
    WorkerStopped,
)
from app.protocol.chunked import LAST_CHUNK, encode_chunk, encode_last_chunk
from app.protocol.heads import client_head
from app.protocol.response import Framing
from app.protocol.server_sent_events import is_event_stream, may_end_early
from app.proxy.relay.event_stream import EventStream, Interrupted
from app.proxy.relay.wsgi_body import WsgiBody
from app.proxy.transaction import Transaction
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint, wait_for_either, yield_to_loop
from app.transport.limits import Expired
from app.transport.pipe import SPLICE_FROM_BYTES, SourceEnded
from app.transport.splice import splice_body
from app.upstream.exchange import PIPELINED_BYTES, poll_client
from app.upstream.messages import UpstreamResponse
from app.upstream.upload import Upload

__all__ = ["ResponseRelay"]

logger = getLogger(__name__)

_TURN_BYTES = 1 << 20
"""How much of a long body goes before others do; about a third of a millisecond."""

_KNOWN_END = (Framing.NONE, Framing.LENGTH)


class ResponseRelay:
    """A WSGI response that passes the upstream's answer on, as it arrives.

    Under `RouterWorker` it writes to the client's endpoint itself, so that nothing about the message is lost;
    under a stock gunicorn worker it goes the way of WSGI.

    Args:
        transaction: ended here, once the last byte is sent or the transfer has failed.
        upstream: the answer, its head complete.
        added: our own field lines for the client, each with its CRLF.
        reading, sending: limits of a wait for the upstream's bytes, and for the client to take some.
    """

    __slots__ = ("begun", "_added", "_transaction", "_reading", "_sending", "_upstream")

    def __init__(
        self, transaction: Transaction, upstream: UpstreamResponse, added: bytes, reading: Deadlines, sending: Deadlines
    ) -> None:
        self._transaction = transaction
        self._upstream = upstream
        self.begun: tuple[bytes, int, int] | None = None  # the whole response, what of it is its head, what is sent
        self._added = added
        self._reading = reading
        self._sending = sending

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The WSGI application of this one answer."""
        request = self._transaction.request
        if request.endpoint is None:
            return self._through_wsgi(start_response)
        request.answered = True
        self._send(request.endpoint)
        return ()

    # --- under RouterWorker -------------------------------------------------------------------------------

    def _send(self, client: Endpoint) -> None:
        transaction = self._transaction
        cause, is_cut = "none", False
        status = self._upstream.status_code
        chunked = self._upstream.stream.framing not in _KNOWN_END
        try:
            if chunked and transaction.request.head.http10:
                self._transfer_until_close(client)
            else:
                self._transfer(client, chunked)
        except RouterError as error:
            status, cause, is_cut = self._cut(client, error)
        except Expired as expired:
            late = UpstreamDeadline(f"the answer was not complete within {expired.limit.seconds:g} s")
            status, cause, is_cut = self._cut(client, late)
        except BaseException:
            cause, is_cut = WorkerStopped.cause, True
            client.abort()
            raise
        finally:
            if cause != "none":
                transaction.request.persist = False
            if self._upstream.connections is not None:
                self._upstream.end()
            transaction.end(status, cause, is_cut)

    def _cut(self, client: Endpoint, error: RouterError) -> tuple[int, str, bool]:
        """Breaks the answer off; the log tells of what is the version's doing.

        The status is out, so the only honest end is a broken one (RFC 9112 §8: incomplete message). Returns what is to
        be recorded: the status that the client has, the cause, and whether it was not the client who broke it off.
        """
        client.abort()
        transaction = self._transaction
        if isinstance(error, UpstreamError):
            said = f"{error} ({transaction.told()}, after {transaction.bytes_out} bytes of the body)"
            request_id, extra = transaction.request_id.decode("latin-1"), {"request": transaction.about(error.cause)}
            logger.warning("%s %s: %s", request_id, error.cause, said, extra=extra)
        status = self._upstream.status_code if transaction.first_byte_us else error.status
        return status, error.cause, not isinstance(error, ClientDisconnected)

    def _transfer_until_close(self, client: Endpoint) -> None:
        """Sends a body that the connection's end ends, since HTTP/1.0 has no chunks (RFC 9112 §6.3).

        Until it is whole the connection cannot end well, not even when this process is killed.
        """
        self._transaction.request.persist = False
        client.end_by_reset(True)
        self._transfer(client, False)
        client.end_by_reset(False)

    def _transfer(self, client: Endpoint, chunked: bool) -> None:
        transaction, upstream = self._transaction, self._upstream
        body = upstream.stream
        transaction.first_byte_us = transaction.head_us
        if self.begun is not None:
            whole, size, sent = self.begun
            self._write(client, whole, len(whole) - size, size, sent)
            return
        if upstream.upload is not None:
            self._transfer_both_ways(client, upstream.upload, chunked)
            return
        data = body.take_buffered() or self._what_follows_at_once()
        head = client_head(upstream.head, self._lines(chunked))
        first = head + (self._framed(data) if chunked else data)
        if body.complete:
            upstream.end()
            self._write(client, first, len(data), len(head))
        else:
            self._write(client, first, len(data), len(head))
            if body.left < 0 and is_event_stream(upstream.head):
                self._pass_events(client, data, chunked)
            else:
                self._rest(client, chunked)

    def _what_follows_at_once(self) -> bytes:
        """The body's first bytes if they are here by now.

        Many servers send head and body one after the other; they then go on in one system call instead of two.
        """
        body = self._upstream.stream
        return b"" if body.complete or body.framing is not Framing.LENGTH else body.take_received()

    def _transfer_both_ways(self, client: Endpoint, upload: Upload, chunked: bool) -> None:
        """The answer came before the request was complete (RFC 9112 §9.6): its connection's last one."""
        self._transaction.request.persist = False
        if self._upstream.stream.left < 0 and is_event_stream(self._upstream.head):
            self._transaction.stream = "finished"
        uploading = gevent.spawn(upload.run)
        try:
            head = client_head(self._upstream.head, self._lines(chunked))
            self._write(client, head, 0, len(head))
            self._pass(client, self._upstream.stream.take_buffered(), chunked)
            self._rest(client, chunked, upload)
        finally:
            uploading.kill()

    def _rest(self, client: Endpoint, chunked: bool, upload: Upload | None = None) -> None:
        """Passes on the body as it arrives."""
        body = self._upstream.stream
        if body.left >= SPLICE_FROM_BYTES and upload is None and self._transaction.tape is None:
            self._splice(client)
        while not body.complete:
            self._pass(client, self._next(client, upload is not None), chunked)
            if upload is not None and upload.error is not None:
                raise upload.error

    def _pass_events(self, client: Endpoint, first: bytes, chunked: bool) -> None:
        """Passes on an event stream, of which `first` is sent, until it ends or is handed over."""
        body, transaction = self._upstream.stream, self._transaction
        transaction.stream = "finished"
        if not may_end_early(transaction.request.head, self._upstream.head):
            self._rest(client, chunked)
            return
        events = EventStream(transaction.target.version, body.connection.endpoint, first)
        transaction.long_lived.add(events)
        try:
            while not body.complete:
                try:
                    data = self._next(client, False)
                except Interrupted:
                    data = b""
                part = events.take(data)
                if events.is_over:
                    transaction.stream = "handed_over"
                    self._end_early(client, part, chunked)
                    return
                self._pass(client, data, chunked)
        finally:
            transaction.long_lived.discard(events)

    def _end_early(self, client: Endpoint, data: bytes, chunked: bool) -> None:
        """Ends a body of unknown length in good order before the upstream does."""
        size = len(data)
        if chunked:
            data = (encode_chunk(data) if data else b"") + LAST_CHUNK
        if data:
            self._write(client, data, size)

    def _splice(self, client: Endpoint) -> None:
        """Passes on the rest of a long body of known length without reading it."""
        body = self._upstream.stream
        source = body.connection.endpoint
        turn_ends = body.left - _TURN_BYTES
        try:
            for taken in splice_body(source, client, body.left, lambda: self._wait(client, False), self._sending):
                self._transaction.bytes_out += taken
                body.skip(taken)
                if body.left <= turn_ends:  # two fast ends might never make it wait, and others would
                    turn_ends = body.left - _TURN_BYTES
                    yield_to_loop()
        except SourceEnded as error:
            raise UpstreamTruncated(f"the answer broke off: {error}") from error
        except OSError as failure:
            raise ClientDisconnected("the client broke the connection") from failure
        except Expired as expired:
            raise self._sending_took_too_long(expired) from expired

    def _pass(self, client: Endpoint, data: bytes, chunked: bool) -> None:
        size = len(data)
        if chunked:
            data = self._framed(data)
        if data:
            self._write(client, data, size)

    def _lines(self, chunked: bool) -> bytes:
        """The lines that the head gets at its end (RFC 9112 §6.1, §9.3; RFC 9110 §7.6.1)."""
        added = self._added
        if chunked:
            added += b"Transfer-Encoding: chunked\r\n"
        said = self._transaction.request.persistence()
        if not said and self._upstream.status_code == 426:
            said = b"Connection: upgrade\r\n"  # RFC 9110 §7.8: Upgrade is always named in Connection
        return added + said

    def _framed(self, data: bytes) -> bytes:
        """`data` as a chunk, and the last chunk when the body is complete."""
        framed = encode_chunk(data) if data else b""
        body = self._upstream.stream
        if not body.complete:
            return framed
        return framed + (encode_last_chunk(body.trailers) if body.trailers else LAST_CHUNK)

    def _next(self, client: Endpoint, uploading: bool) -> bytes:
        """Waits for the next part of the body; b"" when it was only the client that spoke, or nothing more can come."""
        body = self._upstream.stream
        if body.fault is not None:
            raise body.fault
        self._wait(client, uploading)
        return body.take_received()

    def _wait(self, client: Endpoint, uploading: bool) -> None:
        """Waits for the upstream, with an eye on the client."""
        endpoint = self._upstream.stream.connection.endpoint
        try:
            # While the body still comes up, another greenlet reads what the client sends.
            if uploading or len(client.buffered) > PIPELINED_BYTES:
                endpoint.wait_readable(self._reading)
            elif wait_for_either(endpoint, client, self._reading) is client:
                poll_client(client)
        except Expired as error:
            if error.limit is not self._reading:
                raise
            raise UpstreamReadTimeout(f"the answer stopped for {error.limit.seconds:g} s") from error

    def _write(self, client: Endpoint, data: bytes, body: int, head: int = 0, sent: int = 0) -> None:
        """Sends `data`, `head` bytes of the answer's head and then `body` of its body, which are counted.

        `sent` bytes of it are out already.
        """
        transaction = self._transaction
        try:
            client.send(data[sent:] if sent else data, self._sending)
        except BaseException as error:
            transaction.sent_in_part(sent + client.taken, len(data), head, body)
            if isinstance(error, OSError):
                raise ClientDisconnected("the client broke the connection") from error
            if isinstance(error, Expired):
                raise self._sending_took_too_long(error) from error
            raise
        transaction.bytes_out += body
        if transaction.tape is not None:
            transaction.tape.keep_answer(data[head:])

    def _sending_took_too_long(self, error: Expired) -> Exception:
        """What an ended wait means that was for the client, or for a limit that somebody above us has set."""
        if error.limit is not self._sending:
            return error
        return ClientDisconnected(f"the client took nothing for {error.limit.seconds:g} s")

    # --- under a stock worker -----------------------------------------------------------------------------

    def _through_wsgi(self, start_response: Any) -> Any:
        upstream = self._upstream
        head = upstream.head
        lines = client_head(head, self._added).split(b"\r\n")[1:-2]
        pairs = (line.partition(b":") for line in lines)
        fields = [(name.decode("latin-1"), value.strip().decode("latin-1")) for name, _, value in pairs]
        start_response(f"{head.status} {head.reason.decode('latin-1')}", fields)
        return WsgiBody(self._transaction, upstream, self._reading)
