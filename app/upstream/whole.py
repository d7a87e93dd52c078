"""Messages as whole values, for callers in plain Python that hold them in memory anyway."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import requests
from urllib3 import HTTPHeaderDict

from app.address import Address
from app.errors import MalformedRequest, UpstreamReadTimeout
from app.transport.limits import Expired, Limit, TimeLimit
from app.upstream.fresh import FreshConnections
from app.upstream.messages import UpstreamRequest, UpstreamResponse
from app.upstream.upstream_connection import ResponseBody, UpstreamConnection

__all__ = ["adopt", "compose", "read_whole"]

_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})
"""Fields that follow from the body and the connection, whatever the caller says."""


_NO_TOKEN = re.compile(r"[\x00-\x20\x7f]")
_LINE_BREAK = re.compile(r"[\r\n\0]")


def compose(
    method: str,
    path: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes | None,
    authority: bytes,
) -> bytes:
    """The head of a request as a client would have sent it; `authority` stands in for a missing Host.

    Raises MalformedRequest for what would make it more than one head.
    """
    if _NO_TOKEN.search(method) or _NO_TOKEN.search(path):
        raise MalformedRequest("method or path has white space or a control character")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if any(_LINE_BREAK.search(name + value) for name, value in pairs):
        raise MalformedRequest("a header field has a line break or NUL in it")
    kept = [(name, value) for name, value in pairs if name.lower() not in _FRAMING]
    lines = [f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in kept)]
    if not any(name.lower() == "host" for name, _ in kept):
        lines.append(f"Host: {authority.decode()}\r\n")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}\r\n")
    return "".join([*lines, "\r\n"]).encode("latin-1")


def adopt(answer: requests.Response, request: UpstreamRequest) -> UpstreamResponse:
    """An answer of another adapter, such as a double in a test, in the shape of ours; its body is read whole."""
    body = answer.raw.read(decode_content=False)
    lines = [f"HTTP/1.1 {answer.status_code} {answer.reason or ''}\r\n"]
    for name, value in answer.raw.headers.iteritems():
        if name.lower() not in _FRAMING:
            lines.append(f"{name}: {value}\r\n")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    connection = UpstreamConnection(_Held(body))
    head = connection.parser.parse("".join(lines).encode("latin-1"), request.raw_method)
    return UpstreamResponse(
        request, head, ResponseBody(connection, head), FreshConnections(Address("", 0), _refused, TimeLimit(0))
    )


class _Held:
    """The end of a connection that has delivered everything already."""

    def __init__(self, body: bytes) -> None:
        self.buffered = body
        self.closed = False

    def close(self) -> None:
        self.closed = True


def _refused(*_: object) -> None:
    raise ConnectionRefusedError("a double has no connections")


def read_whole(answer: UpstreamResponse, limit: Limit) -> tuple[int, HTTPHeaderDict, bytes]:
    """Reads an answer to its end: (status, fields, body as it came). Raises UpstreamTruncated, UpstreamReadTimeout."""
    fields = HTTPHeaderDict()
    for index, (name, value) in enumerate(answer.head.fields):
        if index not in answer.head.dropped:
            fields.add(name.decode("latin-1"), value.decode("latin-1"))
    parts = []
    try:
        while not answer.stream.complete:
            parts.append(answer.stream.receive(limit))
    except Expired as error:
        raise UpstreamReadTimeout(f"the answer stopped for {limit.seconds:g} s") from error
    finally:
        answer.end()
    return answer.status_code, fields, b"".join(parts)
