"""One attempt at an exchange: the request out, 1xx heads passed on, the final head in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.errors import ClientDisconnected, RequestTimeout, UpstreamProtocolError, UpstreamReadTimeout, UpstreamReset
from app.protocol.heads import informational_head
from app.protocol.response import ResponseHead
from app.protocol.retry import may_send_again
from app.protocol.upgrade import was_asked_for
from app.transport.limits import Expired, Limit
from app.upstream.messages import Begun, UpstreamRequest
from app.upstream.upload import Upload
from app.upstream.upstream_connection import UpstreamConnection

__all__ = ["PIPELINED_BYTES", "Exchange", "ExchangeTimeouts", "poll_client"]

PIPELINED_BYTES = 65536
"""How much a client may send ahead of its turn before we stop looking whether it is still there."""


def _no_client(first: Any, second: Any, limit: Any) -> Any:
    raise AssertionError("a request with a client's endpoint needs a way to wait for it")


@dataclass(frozen=True, slots=True)
class ExchangeTimeouts:
    """How long the waits of an exchange may last, and how to wait for two ends at once.

    `reading` is for the upstream's bytes, `receiving` and `sending` for the client's. `wait_for_either` is
    `app.transport.endpoint.wait_for_either`; plain Python, which has no client's endpoint, needs none.
    """

    reading: Limit
    receiving: Limit
    sending: Limit
    wait_for_either: Callable[[Any, Any, Any], Any] = _no_client


def poll_client(client: Any) -> None:
    """Reads what a client says while its answer is awaited: its next request, or that it is gone.

    Raises ClientDisconnected.
    """
    try:
        data = client.receive()
    except OSError as error:
        raise ClientDisconnected("the client broke the connection") from error
    if data == b"":
        raise ClientDisconnected("the client closed the connection")
    client.buffered += data or b""


class Exchange:
    """One request on one connection. It is used once.

    Until the answer's head is here, one greenlet looks after both directions: the body as the client sends
    it, the answer as the upstream sends it, and a client that goes away.
    """

    __slots__ = ("_connection", "_endpoint", "_has_heard", "_limits", "_request", "_upload", "has_written")

    def __init__(self, connection: UpstreamConnection, request: UpstreamRequest, limits: ExchangeTimeouts) -> None:
        self._connection = connection
        self._endpoint = connection.endpoint
        self._request = request
        self._limits = limits
        self._upload: Upload | None = None
        self.has_written = False
        self._has_heard = False

    def may_be_repeated(self) -> bool:
        """Whether the request may be sent on another connection after this one has failed."""
        return may_send_again(
            self._request.raw_method,
            is_reused=self._connection.reused,
            times_written=self._request.times_written,
            has_written=self.has_written,
            body_consumed=self._upload is not None and self._upload.consumed,
            has_heard=self._has_heard,
        )

    def unfinished(self) -> Upload | None:
        """What is left of the request's body when the answer came first."""
        upload = self._upload
        return None if upload is None or (upload.body.complete and not upload.has_unsent) else upload

    def run(self, begun: Begun | None = None) -> ResponseHead:
        """Sends the request, or what is left of it, and returns the head of its answer.

        Raises UpstreamReset, UpstreamReadTimeout, UpstreamProtocolError, ClientDisconnected, RequestTimeout
        and what the request's body raises.
        """
        request, limits = self._request, self._limits
        try:
            if begun is not None:
                self._go_on(begun)
            elif request.raw_body is None:
                self._send(request.head)
                self._advance()
            else:
                self._send_first_part()
                self._advance()
            return self._final_head()
        except Expired as error:
            if error.limit is limits.reading:
                raise UpstreamReadTimeout(
                    f"{request.address.spot} did not answer within {error.limit.seconds:g} s"
                ) from error
            if error.limit is limits.receiving:
                raise RequestTimeout(f"no body bytes from the client for {error.limit.seconds:g} s") from error
            raise  # a limit that somebody above us has set
        except OSError as failure:
            raise UpstreamReset(f"{request.address.spot} broke the connection: {failure.strerror}") from failure

    def _go_on(self, begun: Begun) -> None:
        self.has_written = begun.has_written
        if begun.fault is not None:
            raise begun.fault
        if begun.unsent:
            self._endpoint.send(begun.unsent, self._limits.reading)
        if begun.received is None:
            self._advance()
        else:
            self._take_in(begun.received)

    def _send(self, data: bytes) -> None:
        endpoint = self._endpoint
        sent = endpoint.send_some(data)
        self.has_written = True
        if sent < len(data):
            endpoint.send(data[sent:], self._limits.reading)

    def _send_first_part(self) -> None:
        """The head, and what is here of the body, in one system call."""
        request, limits = self._request, self._limits
        body = request.raw_body
        assert body is not None
        if request.first_part is None:
            request.first_part = request.head + body.take_buffered()
        upload = self._upload = Upload(body, self._endpoint, limits.reading, limits.receiving)
        if request.client is None:
            self._send(request.first_part)
        else:
            sent = self._endpoint.send_some(request.first_part)
            self.has_written = True
            upload.unsent = request.first_part[sent:]

    def _final_head(self) -> ResponseHead:
        request, connection = self._request, self._connection
        method = request.raw_method
        while True:
            head = connection.take_head(method)
            if head is None:
                self._advance()
            elif head.status >= 200:
                return head
            elif head.status == 101:
                if not was_asked_for(head.upgrade, request.upgrades):
                    raise UpstreamProtocolError(f"101 Switching Protocols to {head.upgrade!r} was not asked for")
                return head
            elif request.passes_informational:
                self._pass_on(head)

    def _pass_on(self, head: ResponseHead) -> None:
        try:
            self._request.client.send(informational_head(head), self._limits.sending)
        except (OSError, Expired) as error:
            raise ClientDisconnected("the client broke the connection") from error

    def _advance(self) -> None:
        """Waits until something can be done, and does it."""
        upload = self._upload
        client = self._request.client
        limits = self._limits
        if upload is None or upload.is_over:
            if client is None or len(client.buffered) > PIPELINED_BYTES:
                self._take_in(self._endpoint.read(limits.reading))
            elif limits.wait_for_either(self._endpoint, client, limits.reading) is client:
                poll_client(client)
            else:
                self._receive()
        elif client is None:
            self._endpoint.send(upload.body.take(), limits.reading)
            upload.consumed = True
        elif upload.has_unsent:
            if self._endpoint.wait_writable(limits.reading, or_readable=True):
                self._receive()
            else:
                upload.push()
        elif limits.wait_for_either(client, self._endpoint, limits.receiving) is client:
            upload.pull()
        else:
            self._receive()

    def _receive(self) -> None:
        data = self._endpoint.receive()
        if data is not None:
            self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        if not data:
            raise UpstreamReset("the connection was closed before the answer was complete")
        self._has_heard = True
        buffered = self._endpoint.buffered
        self._endpoint.buffered = buffered + data if buffered else data
