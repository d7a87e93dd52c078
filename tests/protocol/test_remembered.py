"""Heads that come again are read as the first time, whatever came in between, and few are kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MalformedRequest
from app.protocol import response as response_module
from app.protocol.fields import REMEMBERED_BYTES, REMEMBERED_HEADS
from app.protocol.forwarding import Forwarding
from app.protocol.heads import client_head, upstream_head
from app.protocol.request import RequestHead, RequestParser
from app.protocol.response import ResponseHead, ResponseParser

LINES = [
    *(b"Host: a", b"Host: b:80", b"Host: ", b"Connection: close", b"Connection: keep-alive, X-Mine", b"X-Mine: 1"),
    *(b"Cookie: a=1", b"Content-Length: 3", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"TE: trailers"),
    *(b"X-Forwarded-For: 192.0.2.7", b"X-Request-ID: r-1", b"X-Request-ID: \xff", b"Upgrade: websocket"),
    *(b"Connection: upgrade", b"X-Router-Preview: t", b"X_Odd: 1", b"Proxy-Connection: close", b"X : 1"),
]
START = [
    *(b"GET / HTTP/1.1", b"GET /b HTTP/1.1", b"GET / HTTP/1.0", b"OPTIONS * HTTP/1.1", b"GET http://a/ HTTP/1.1"),
    *(b"GET http://b/ HTTP/1.1", b"POST / HTTP/1.1", b"HEAD / HTTP/1.1", b"TRACE / HTTP/1.1", b"GET x HTTP/1.1"),
]
STATUS = [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 \xe9", b"HTTP/1.1 200"]


def raw_of(start: bytes, lines: list[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in (start, *lines)) + b"\r\n"


requests = st.builds(raw_of, st.sampled_from(START), st.lists(st.sampled_from(LINES), max_size=3))
responses = st.builds(raw_of, st.sampled_from(STATUS), st.lists(st.sampled_from(LINES), max_size=3))


def values(head: RequestHead | ResponseHead) -> dict[str, Any]:
    names = (name for name in dir(head) if not name.startswith("_") and name != "kept")
    return {name: value for name in names if not callable(value := getattr(head, name))}


def read(parser: RequestParser, raw: bytes, hops: int) -> object:
    """All that a head comes to, and what is sent upstream; or why it is refused."""
    try:
        head = parser.parse(raw)
    except Exception as error:
        return repr(error)
    sent = upstream_head(head, Forwarding(b"192.0.2.1", b"http", 80, hops).lines(head), b"up")
    return values(head), sent


@given(st.lists(requests, max_size=4), st.lists(st.integers(0, 3), max_size=8), st.integers(0, 1))
def test_request_that_comes_again_is_read_as_the_first_time(raws: list[bytes], order: list[int], hops: int) -> None:
    parser = RequestParser(200)
    for index in order:
        if index < len(raws):
            assert read(parser, raws[index], hops) == read(RequestParser(200), raws[index], hops)


@given(st.lists(responses, max_size=4), st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=8))
def test_answer_that_comes_again_is_read_as_the_first_time(raws: list[bytes], order: list[tuple[int, bool]]) -> None:
    def read_answer(raw: bytes, method: bytes) -> object:
        try:
            head = ResponseParser().parse(raw, method)
        except Exception as error:
            return repr(error)
        return values(head), client_head(head, b"Ours: 1\r\n")

    for index, is_head in order:
        if index < len(raws):
            method = b"HEAD" if is_head else b"GET"
            again = read_answer(raws[index], method)
            response_module._KNOWN.clear()
            assert again == read_answer(raws[index], method)


def test_refused_request_is_refused_again() -> None:
    parser = RequestParser(200)
    for _ in range(3):
        with pytest.raises(MalformedRequest):
            parser.parse(b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n")


def test_no_more_is_remembered_than_is_of_use() -> None:
    parser = RequestParser(200)
    for number in range(1000):
        head = parser.parse(b"GET /%d HTTP/1.1\r\nHost: a\r\nN: %d\r\n\r\n" % (number, number))
        assert head.fields == [(b"Host", b"a"), (b"N", b"%d" % number)]
        ResponseParser().parse(b"HTTP/1.1 200 OK\r\nN: %d\r\n\r\n" % number, b"GET")
        for known in (parser._heads, parser._sections, response_module._KNOWN):
            assert 0 < len(known) <= REMEMBERED_HEADS
    long = b"GET /long HTTP/1.1\r\nHost: a\r\nN: " + b"n" * REMEMBERED_BYTES + b"\r\n\r\n"
    parser.parse(long)
    assert long not in parser._heads
