"""A request as its client sends it: the head, who sent it, and the body on its way."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from app.errors import BodyTooLarge, ClientDisconnected, MalformedRequest, RequestTimeout
from app.protocol.chunked import ChunkedDecoder, encode_chunk, encode_last_chunk
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestHead, RequestParser
from app.protocol.trailers import safe_trailers
from app.settings.tables.router_settings import RouterConfig
from app.transport.endpoint import Endpoint
from app.transport.pipe import Pipe, SourceEnded
from app.upstream.upload import RequestBody

__all__ = ["ClientBody", "ClientRequest", "InputBody", "request_parser"]

RATE_GRACE_S = 10.0
"""How long a body may be slower than `body_rate_floor` before that counts: a stalled mobile link recovers."""


def request_parser(config: RouterConfig) -> RequestParser:
    """A parser that reads heads as the settings have it."""
    return RequestParser(config.max_fields, config.allow_trace, config.pass_underscore_fields, config.upgrades)


class ClientRequest:
    """One request of one client.

    Attributes:
        head: the checked head.
        body: None when it has none.
        endpoint: the client's connection, None when a stock gunicorn worker owns it.
        forwarding: knows the peer and writes the forwarding fields of this connection.
        started_us: monotonic microseconds when the head was complete.
        persist: the connection may carry another request after the answer; whoever answers may clear it.
        promised: the answer's head has left that open, so the client may send its next request by now.
        answered: the answer has been sent, or given up, on `endpoint`.
    """

    __slots__ = ("answered", "body", "endpoint", "forwarding", "head", "persist", "promised", "started_us")

    def __init__(
        self,
        head: RequestHead,
        body: ClientBody | InputBody | None,
        endpoint: Endpoint | None,
        forwarding: Forwarding,
        started_us: int,
        persist: bool,
    ) -> None:
        self.head = head
        self.body = body
        self.endpoint = endpoint
        self.forwarding = forwarding
        self.started_us = started_us
        self.persist = persist
        self.promised = False
        self.answered = False

    def persistence(self) -> bytes:
        """The line in the answer's head that says whether the connection persists (RFC 9112 §9.3); then it holds."""
        if not self.persist:
            return b"Connection: close\r\n"
        self.promised = True
        return b"Connection: keep-alive\r\n" if self.head.http10 else b""

    @property
    def client_address(self) -> str:
        """Worked out when asked for; the hot path does not."""
        return self.forwarding.client_address(self.head)


class ClientBody:
    """A request body that arrives on an `Endpoint`; comes out framed for the upstream.

    Args:
        client: where it arrives.
        head: says how it is framed.
        max_bytes: longer ones are refused; 0 is no limit.
        rate_floor: slower ones, in bytes per second, are given up; 0 is no limit.

    Attributes:
        complete: all of it has been taken.
        size: bytes of the body taken, without framing.
        passes_trailers: whether what stands behind it goes on as well.
    """

    __slots__ = (
        "_decoder",
        "_left",
        "_max_bytes",
        "_rate_floor",
        "_window",
        "client",
        "complete",
        "passes_trailers",
        "size",
    )

    def __init__(self, client: Endpoint, head: RequestHead, max_bytes: int, rate_floor: int) -> None:
        self.client = client
        self._decoder = ChunkedDecoder() if head.chunked else None
        self._left = head.content_length or 0
        self._max_bytes = max_bytes
        self._rate_floor = rate_floor
        self._window: tuple[float, int] | None = None  # when it began (monotonic seconds), size then
        self.complete = False
        self.size = 0
        self.passes_trailers = True

    def take_buffered(self) -> bytes:
        """What has arrived with the head, framed for the upstream."""
        data = self.client.buffered
        if not data:
            return b""
        self.client.buffered = b""
        return self._framed(data)

    def take(self) -> bytes:
        """What is there without waiting, framed for the upstream; b"" when there is nothing yet.

        Raises ClientDisconnected, MalformedRequest, BodyTooLarge, RequestTimeout.
        """
        if self.client.buffered:
            return self.take_buffered()
        try:
            data = self.client.receive()
        except OSError as error:
            raise ClientDisconnected("the client broke the connection in mid-body") from error
        if data == b"":
            raise ClientDisconnected("the client closed the connection in mid-body")
        if not data:
            return b""
        framed = self._framed(data)
        if self._rate_floor and not self.complete:
            self._check_rate()
        return framed

    @property
    def unread(self) -> int:
        """Bytes that need not be looked at: those of a body of known length that are not in a buffer of ours."""
        return self._left if self._decoder is None and not self.client.buffered else 0

    def fill(self, pipe: Pipe) -> bool:
        """Moves what is there of the unread bytes into `pipe`; False when there is nothing yet.

        Raises ClientDisconnected, RequestTimeout.
        """
        try:
            if not pipe.fill(self.client.fileno(), self._left):
                return False
        except SourceEnded as error:
            raise ClientDisconnected(f"the client broke off in mid-body: {error}") from error
        self._left -= pipe.held
        self.size += pipe.held
        self.complete = not self._left
        if self._rate_floor and not self.complete:
            self._check_rate()
        return True

    def _framed(self, data: bytes) -> bytes:
        if self._decoder is None:
            if len(data) > self._left:
                self.client.buffered = data[self._left :]
                data = data[: self._left]
            self._left -= len(data)
            self.size += len(data)
            self.complete = not self._left
            return data
        try:
            body, rest = self._decoder.feed(data)
            trailers = safe_trailers(self._decoder.trailers)
        except ValueError as error:
            raise MalformedRequest(f"invalid chunked body: {error}") from error
        self.size += len(body)
        if self._max_bytes and self.size > self._max_bytes:
            raise BodyTooLarge(f"the body is longer than {self._max_bytes} bytes")
        framed = encode_chunk(body) if body else b""
        if self._decoder.done:
            self.complete = True
            self.client.buffered = rest
            framed += encode_last_chunk(trailers if self.passes_trailers else b"")
        return framed

    def _check_rate(self) -> None:
        """Gives up a body that has trickled for a whole window. An upstream that is slow to take it does not
        make its client guilty: what piled up in the meantime is taken in one large step."""
        now = monotonic()
        if self._window is None:
            self._window = (now, self.size)
            return
        began, size = self._window
        if now - began >= RATE_GRACE_S:
            if self.size - size < self._rate_floor * (now - began):
                raise RequestTimeout(f"the body comes slower than {self._rate_floor} bytes/s")
            self._window = (now, self.size)


class InputBody(RequestBody):
    """A request body that a stock gunicorn worker reads for us: there is no socket of ours to move it from."""

    __slots__ = ("_chunked", "_max_bytes", "_read", "client", "complete", "size")

    def __init__(self, read: Callable[[int], bytes], chunked: bool, max_bytes: int) -> None:
        self._read = read
        self._chunked = chunked
        self._max_bytes = max_bytes
        self.client: Any = None  # no endpoint: `take` waits by itself
        self.complete = False
        self.size = 0

    def take_buffered(self) -> bytes:
        """Nothing: what has arrived is the worker's affair."""
        return b""

    def take(self) -> bytes:
        """Waits for the next bytes. Raises ClientDisconnected, BodyTooLarge."""
        try:
            data = self._read(65536)
        except OSError as error:
            raise ClientDisconnected("the client broke the connection in mid-body") from error
        self.size += len(data)
        if self._max_bytes and self.size > self._max_bytes:
            raise BodyTooLarge(f"the body is longer than {self._max_bytes} bytes")
        self.complete = not data
        if not self._chunked:
            return data
        return encode_chunk(data) if data else encode_last_chunk(b"")
