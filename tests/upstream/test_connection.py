"""An answer as its bytes arrive: read the same in any split, and a fault is known at the byte that makes it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from app.errors import UpstreamError, UpstreamProtocolError, UpstreamTruncated
from app.upstream.upstream_connection import ResponseBody, UpstreamConnection

OK = b"HTTP/1.1 200 OK\r\n"


class Arriving:
    """The near end of a version's connection: what has arrived, and what comes next."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.buffered = b""
        self._pieces = iter(pieces)

    def receive(self) -> bytes:
        """The next piece; after the last one, the end."""
        return next(self._pieces, b"")

    def close(self) -> None:
        """Nothing to close."""


def splits(data: bytes) -> Iterable[list[bytes]]:
    """The data in every two parts, and byte by byte."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def fault_of_head(pieces: list[bytes]) -> tuple[int, str]:
    """How many bytes had come when the head was known to be bad, and why."""
    connection = UpstreamConnection(Arriving([]))
    arrived = 0
    for piece in pieces:
        connection.endpoint.buffered += piece
        arrived += len(piece)
        try:
            head = connection.take_head(b"GET")
        except UpstreamProtocolError as error:
            return arrived, str(error)
        assert head is None, "a broken head was taken for a whole one"
    raise AssertionError("nothing was found, so a client waits for the rest")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        pytest.param(b"HTTP/1.1 200 OK", b"\n", id="status-line-ends-in-lf"),
        pytest.param(OK + b"A: 1", b"\n", id="field-ends-in-lf"),
        pytest.param(OK + b"A: 1\r\n", b"\n", id="empty-line-is-lf"),
        pytest.param(OK + b"A: 1\r\n\r", b"\r", id="cr-cr"),
        pytest.param(b"HTTP/1.1 200 OK\r", b"A", id="status-line-ends-in-cr"),
        pytest.param(OK + b"A: 1\r", b"B", id="field-ends-in-cr"),
        pytest.param(OK + b"A: a", b"\0", id="nul-in-field"),
        pytest.param(OK + b"A: a", b"\x0b", id="control-in-field"),
        pytest.param(b"HTTP/1.1 200 ", b"\0", id="nul-in-status-line"),
        pytest.param(b"", b"\r", id="empty-line-first"),
        pytest.param(b"", b"\n", id="lf-first"),
        pytest.param(b"", b"\0", id="nul-first"),
        pytest.param(b"HTT", b"Q", id="another-word"),
        pytest.param(b"", b"S", id="another-protocol"),
        pytest.param(b"HTTP/2.0 200 OK\r", b"\n", id="another-version"),
        pytest.param(b"HTTP/1.1 20 OK\r", b"\n", id="no-status"),
    ],
)
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"], ids=["alone", "interim"])
def test_bad_head_is_known_at_the_byte_that_makes_it_one(good: bytes, bad: bytes, interim: bytes) -> None:
    for pieces in splits(good + bad):
        connection = UpstreamConnection(Arriving([]))
        connection.endpoint.buffered = interim
        if interim:
            assert connection.take_head(b"GET") is not None
        arrived = 0
        for piece in pieces:
            connection.endpoint.buffered += piece
            arrived += len(piece)
            if arrived < len(good + bad):
                assert connection.take_head(b"GET") is None
        with pytest.raises(UpstreamProtocolError):
            connection.take_head(b"GET")


@pytest.mark.parametrize(
    "lines", [b"A: 1\nB: 2\r\n\r\n", b"A: 1\n\nbody\r\n\r\n", b"A: 1\rB: 2\r\n\r\n", b"A: \0\r\n\r\n"]
)
def test_bad_head_that_seems_to_end_is_bad_in_any_split(lines: bytes) -> None:
    for pieces in splits(OK + lines):
        assert fault_of_head(pieces)[0] <= len(OK + lines)


def test_good_head_is_taken_in_any_split() -> None:
    raw = OK + b"A: a\tb \x80\xff\r\nContent-Length: 0\r\n\r\n"
    for pieces in splits(raw):
        connection = UpstreamConnection(Arriving([]))
        heads = []
        for piece in pieces:
            connection.endpoint.buffered += piece
            heads.append(connection.take_head(b"GET"))
        assert heads[:-1] == [None] * (len(pieces) - 1)
        assert heads[-1] is not None
        assert heads[-1].raw == raw


def test_what_is_wrong_is_said_in_words() -> None:
    assert "a line has a bare LF: b'HTTP/1.1 200 OK\\n'" in fault_of_head([b"HTTP/1.1 200 OK\n"])[1]
    assert "a line has a bare CR" in fault_of_head([OK + b"A: 1\rB"])[1]
    assert "a line has a control character" in fault_of_head([OK + b"A: \0"])[1]


# --- the body -------------------------------------------------------------------------------------------------

LENGTH_9 = OK + b"Content-Length: 9\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(raw: bytes, pieces: list[bytes], closes: bool) -> tuple[bytes, UpstreamError | None]:
    """What came of the body, and its fault, when the version sends these pieces and may then close."""
    connection = UpstreamConnection(Arriving(pieces))
    connection.endpoint.buffered = raw
    head = connection.take_head(b"GET")
    assert head is not None
    body = ResponseBody(connection, head)
    found = body.take_buffered()
    for _ in range(len(pieces) + closes):
        if body.fault is None and not body.complete:
            found += body.take_received()
    assert not (body.complete and body.fault)
    return found, body.fault


@pytest.mark.parametrize(
    ("head", "data", "came", "fault"),
    [
        pytest.param(LENGTH_9, b"", b"", UpstreamTruncated, id="no-byte"),
        pytest.param(LENGTH_9, b"hello", b"hello", UpstreamTruncated, id="short"),
        pytest.param(CHUNKED, b"", b"", UpstreamTruncated, id="no-chunk"),
        pytest.param(CHUNKED, b"5\r\nhello\r\n", b"hello", UpstreamTruncated, id="no-last-chunk"),
        pytest.param(CHUNKED, b"5\r\nhel", b"hel", UpstreamTruncated, id="short-chunk"),
        pytest.param(CHUNKED, b"5\r\nhello\r\n0\r\nA: 1\r\n", b"hello", UpstreamTruncated, id="trailers-cut"),
        pytest.param(CHUNKED, b"5\n", b"", UpstreamProtocolError, id="size-ends-in-lf"),
        pytest.param(CHUNKED, b"5\r\nhello\r\n3\n", b"hello", UpstreamProtocolError, id="later-size-ends-in-lf"),
        pytest.param(CHUNKED, b"5\r\nhello\n", b"hello", UpstreamProtocolError, id="data-ends-in-lf"),
        pytest.param(CHUNKED, b"5\r\nhello\rX", b"hello", UpstreamProtocolError, id="data-ends-in-cr"),
        pytest.param(CHUNKED, b"5\r\nhello\r\nx", b"hello", UpstreamProtocolError, id="no-size"),
        pytest.param(CHUNKED, b"5\rh", b"", UpstreamProtocolError, id="size-ends-in-cr"),
        pytest.param(CHUNKED, b"5;a\0", b"", UpstreamProtocolError, id="nul-in-extension"),
        pytest.param(CHUNKED, b"5\r\nhello\r\n0\n", b"hello", UpstreamProtocolError, id="last-chunk-ends-in-lf"),
        pytest.param(CHUNKED, b"5\r\nhello\r\n0\r\n\n", b"hello", UpstreamProtocolError, id="last-line-is-lf"),
        pytest.param(CHUNKED, b"5\r\nhello\r\n0\r\nA: 1\n", b"hello", UpstreamProtocolError, id="trailer-ends-in-lf"),
        pytest.param(CHUNKED, b"5\r\nhello\r\n0\r\nA: 1\rB", b"hello", UpstreamProtocolError, id="trailer-ends-in-cr"),
        pytest.param(CHUNKED, b"5\r\nhello\r\n0\r\nA: \0", b"hello", UpstreamProtocolError, id="nul-in-trailer"),
        pytest.param(CHUNKED, b"5\r\nhello\r\n0\r\nA : 1\r\n\r\n", b"hello", UpstreamProtocolError, id="bad-trailer"),
    ],
)
def test_broken_body_is_the_same_in_any_split(
    head: bytes, data: bytes, came: bytes, fault: type[UpstreamError]
) -> None:
    closes = fault is UpstreamTruncated
    for pieces in splits(data) if data else [[]]:
        assert _told(read(head, list(pieces), closes)) == (came, fault)
        assert _told(read(head + b"".join(pieces[:1]), list(pieces[1:]), closes)) == (came, fault)


def _told(found: tuple[bytes, UpstreamError | None]) -> tuple[bytes, type[UpstreamError]]:
    assert found[1] is not None, "nothing was found, so a client waits for the rest"
    return found[0], type(found[1])
