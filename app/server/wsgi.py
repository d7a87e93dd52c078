"""Sends what an ordinary WSGI application answers: the router's own pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.protocol.chunked import LAST_CHUNK, encode_chunk
from app.proxy.client_request import ClientRequest
from app.proxy.rewrite.date import date_line
from app.transport.deadlines import Deadlines

__all__ = ["WsgiAnswer"]


class WsgiAnswer:
    """Writes the answers of a WSGI application (PEP 3333) to a client's endpoint; one object per connection.

    Args:
        sending: limit of a wait for the client to take bytes.
    """

    __slots__ = ("_head", "_sending")

    def __init__(self, sending: Deadlines) -> None:
        self._sending = sending
        self._head: tuple[str, list[tuple[str, str]]] | None = None

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """What the application calls first."""
        self._head = (status, headers)
        return _no_write

    def send(self, chunks: Iterable[bytes], request: ClientRequest) -> None:
        """Sends head and body; clears `request.persist` when the answer ends the connection.

        Raises OSError and Expired when the client is gone.
        """
        endpoint = request.endpoint
        assert endpoint is not None
        try:
            iterator = iter(chunks)
            first = next(iterator, b"")
            assert self._head is not None, "the application did not call start_response"
            status, headers = self._head
            chunked = _is_chunked(request, status, headers)
            without_body = request.head.method == b"HEAD" or status[:3] in ("204", "304")
            head = _head_bytes(request, status, headers, chunked)
            if without_body:
                endpoint.send(head, self._sending)
                return
            endpoint.send(head + _framed(first, chunked), self._sending)
            for data in iterator:
                if data:
                    endpoint.send(_framed(data, chunked), self._sending)
            if chunked:
                endpoint.send(LAST_CHUNK, self._sending)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()


def _no_write(data: bytes) -> None:
    raise AssertionError("the router's pages return their bodies")


def _is_chunked(request: ClientRequest, status: str, headers: list[tuple[str, str]]) -> bool:
    if request.body is not None and not request.body.complete:
        request.persist = False  # nobody has read the body, and it is in the way of the next request
    if any(name.lower() == "content-length" for name, _ in headers) or status[:3] in ("204", "304"):
        return False
    if request.head.http10:
        request.persist = False
        return False
    return True


def _head_bytes(request: ClientRequest, status: str, headers: list[tuple[str, str]], chunked: bool) -> bytes:
    lines = [f"HTTP/1.1 {status}\r\n", *(f"{name}: {value}\r\n" for name, value in headers)]
    if chunked:
        lines.append("Transfer-Encoding: chunked\r\n")
    return "".join(lines).encode("latin-1") + date_line() + request.persistence() + b"\r\n"


def _framed(data: bytes, chunked: bool) -> bytes:
    return encode_chunk(data) if chunked and data else data
