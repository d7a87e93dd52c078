"""A connection to a version, and the body of the answer that arrives on it."""

from __future__ import annotations

from typing import Any

from app.errors import UpstreamError, UpstreamProtocolError, UpstreamTruncated
from app.protocol.chunked import BrokenChunks, ChunkedDecoder
from app.protocol.response import Framing, ResponseHead, ResponseParser, check_begun
from app.protocol.trailers import safe_trailers
from app.transport.limits import Limit

__all__ = ["MAX_HEAD_BYTES", "ResponseBody", "UpstreamConnection"]

MAX_HEAD_BYTES = 65_536
"""Bound on an answer's head: our memory is at stake, and no client takes more (nginx's default of one page is
among its most asked-about errors)."""

_EXACT = {Framing.NONE, Framing.LENGTH}


class UpstreamConnection:
    """An endpoint with the parser of what arrives on it.

    Attributes:
        endpoint: an `Endpoint` or a `BlockingEndpoint`.
        reused: it has carried an exchange before, so it may have been closed in the meantime.
        is_trusted: the version has surely read all that was sent in that exchange, so it does not close because of it.
        idle_since: when that exchange ended, monotonic seconds.
    """

    __slots__ = ("_searched", "endpoint", "idle_since", "is_trusted", "parser", "reused")

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint
        self.parser = ResponseParser()
        self.reused = False
        self.is_trusted = True
        self.idle_since = 0.0
        self._searched = 0  # up to where a head that trickles in has neither its end nor a fault

    def take_head(self, method: bytes) -> ResponseHead | None:
        """The next head when its bytes are all in the buffer, else None.

        Raises UpstreamProtocolError, as soon as the bytes cannot become a head any more.
        """
        buffered: bytes = self.endpoint.buffered
        end = buffered.find(b"\r\n\r\n", self._searched)
        if end < 0:
            if len(buffered) > MAX_HEAD_BYTES:
                raise UpstreamProtocolError(f"the answer's head is longer than {MAX_HEAD_BYTES} bytes")
            check_begun(buffered, self._searched)
            self._searched = max(0, len(buffered) - 3)
            return None
        self._searched = 0
        end += 4
        if end > MAX_HEAD_BYTES:
            raise UpstreamProtocolError(f"the answer's head is longer than {MAX_HEAD_BYTES} bytes")
        if end == len(buffered):
            self.endpoint.buffered = b""
            return self.parser.parse(buffered, method)
        self.endpoint.buffered = buffered[end:]
        return self.parser.parse(buffered[:end], method)

    def forget_search(self) -> None:
        """Whatever is in the buffer next is looked at from its beginning."""
        self._searched = 0

    def close(self) -> None:
        """Closes the endpoint."""
        self.endpoint.close()


class ResponseBody:
    """Decodes the body of one answer as its bytes arrive.

    Attributes:
        complete: the whole body has been taken.
        connection: where it comes from.
        left: bytes of a body of known length still to come; -1 when the length is not known.
        fault: why the rest can never come; None while it can. What came before it is a part like any other, so what
            becomes of a broken answer does not depend on how its bytes were split.
        trailers: the trailer lines that may be passed on, once complete.
    """

    __slots__ = ("_decoder", "complete", "connection", "fault", "framing", "left", "trailers")

    def __init__(self, connection: UpstreamConnection, head: ResponseHead) -> None:
        self.connection = connection
        self.framing = head.framing
        self.complete = head.framing is Framing.NONE
        self.left = (head.content_length or 0) if head.framing in _EXACT else -1
        self._decoder = ChunkedDecoder() if head.framing is Framing.CHUNKED else None
        self.fault: UpstreamError | None = None
        self.trailers = b""

    def take_buffered(self) -> bytes:
        """What the buffer holds of the body, decoded."""
        data = self.connection.endpoint.buffered
        if not data or self.complete:
            return b""
        self.connection.endpoint.buffered = b""
        return self.decode(data)

    def decode(self, data: bytes) -> bytes:
        """Decodes bytes that were received; b"" is the end of the stream. Notes when the body is complete or broken."""
        if not data:
            self._end()
            return b""
        if self._decoder is not None:
            return self._decode_chunks(data)
        if self.left >= 0:
            if len(data) > self.left:
                self.connection.endpoint.buffered = data[self.left :]
                data = data[: self.left]
            self.left -= len(data)
            self.complete = not self.left
        return data

    def skip(self, length: int) -> None:
        """Notes that so many bytes of a body of known length went another way."""
        self.left -= length
        self.complete = not self.left

    def _end(self) -> None:
        if self.framing is Framing.CLOSE:
            self.complete = True
        else:
            self._break_off(f"{self.left} bytes missing" if self.left > 0 else "the last chunk is missing")

    def _break_off(self, how: str | None) -> None:
        self.fault = UpstreamTruncated(f"the answer broke off: {how}")

    def _decode_chunks(self, data: bytes) -> bytes:
        decoder = self._decoder
        assert decoder is not None
        try:
            body, rest = decoder.feed(data)
        except BrokenChunks as error:
            self.fault = UpstreamProtocolError(f"the answer's chunks are broken: {error}")
            return error.body
        if decoder.done:
            try:
                self.trailers = safe_trailers(decoder.trailers)
            except ValueError as fault:
                self.fault = UpstreamProtocolError(f"the answer's trailer section is broken: {fault}")
            else:
                self.connection.endpoint.buffered = rest
                self.complete = True
        return body

    def take_received(self) -> bytes:
        """What has been received of the body by now, decoded; b"" when that is nothing. For an `Endpoint`."""
        try:
            data = self.connection.endpoint.receive()
        except OSError as error:
            self._break_off(error.strerror)
            return b""
        return b"" if data is None else self.decode(data)

    def receive(self, limit: Limit) -> bytes:
        """Waits for the next part of the body; b"" only when it is complete. Raises its `fault`, and Expired."""
        data = self.take_buffered()
        while not data and not self.complete:
            if self.fault is not None:
                raise self.fault
            try:
                data = self.decode(self.connection.endpoint.read(limit))
            except OSError as error:
                self._break_off(error.strerror)
        return data
