"""The response head: an upstream's answer is either clear to the last byte or a bad gateway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamProtocolError
from app.protocol.response import MAX_FIELDS, Framing, ResponseHead, ResponseParser, check_begun
from tests.protocol.messages import block, fields
from tests.support.wire import Field


def parse(raw: bytes, method: bytes = b"GET") -> ResponseHead:
    """Parses a whole head with a parser of its own."""
    return ResponseParser().parse(raw, method)


def head_of(lines: bytes, *, start: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET") -> ResponseHead:
    """A head with these field lines."""
    return parse(start + b"\r\n" + lines + b"\r\n", method)


def kept(head: ResponseHead) -> list[bytes]:
    """The names of the fields that do not end here."""
    return [name for index, (name, _) in enumerate(head.fields) if index not in head.dropped]


# --- the status line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "reason", "rewrites"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK", False),
        (b"HTTP/1.1 200 ", 200, b"", False),
        (b"HTTP/1.1 200", 200, b"", True),
        (b"HTTP/1.0 404 Not Found", 404, b"Not Found", True),
        (b"HTTP/1.1 999 Odd\tone \xe9", 999, b"Odd\tone \xe9", False),
        (b"HTTP/1.1 100 Continue", 100, b"Continue", False),
        (b"HTTP/1.1 200  two spaces", 200, b" two spaces", False),
    ],
)
def test_status_line_is_read(line: bytes, status: int, reason: bytes, rewrites: bool) -> None:
    head = head_of(b"Content-Length: 0\r\n", start=line)
    assert (head.status, head.reason, head.rewrites_line) == (status, reason, rewrites)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"200 OK",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 Low",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/2.0 200 OK",
        b"HTTP/2 200 OK",
        b"HTTP/1.2 200 OK",
        b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1 200 \x00",
        b"HTTP/1.1 200 a\rb",
        b"HTTP/1.1 200 a\x7f",
        b"HTTP/1.1 200 OK\nX: 1",
        b"ICY 200 OK",
    ],
)
def test_other_start_lines_are_bad_answers(line: bytes) -> None:
    with pytest.raises(UpstreamProtocolError, match="status line"):
        head_of(b"Content-Length: 0\r\n", start=line)


# --- framing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "start", "method", "framing", "length"),
    [
        pytest.param(b"Content-Length: 5\r\n", b"HTTP/1.1 200 OK", b"GET", Framing.LENGTH, 5, id="length"),
        pytest.param(b"Content-Length: 0\r\n", b"HTTP/1.1 200 OK", b"GET", Framing.NONE, 0, id="length-zero"),
        pytest.param(b"Content-Length: 5 \r\n", b"HTTP/1.1 200 OK", b"GET", Framing.LENGTH, 5, id="length-then-space"),
        pytest.param(b"Content-Length: 5\r\n", b"HTTP/1.0 200 OK", b"GET", Framing.LENGTH, 5, id="length-http-1.0"),
        pytest.param(
            b"Transfer-Encoding: Chunked\r\n", b"HTTP/1.1 200 OK", b"GET", Framing.CHUNKED, None, id="chunked"
        ),
        pytest.param(b"", b"HTTP/1.1 200 OK", b"GET", Framing.CLOSE, None, id="until-close"),
        pytest.param(b"", b"HTTP/1.1 200 OK", b"head", Framing.CLOSE, None, id="methods-are-case-sensitive"),
        pytest.param(b"Content-Length: 5\r\n", b"HTTP/1.1 200 OK", b"HEAD", Framing.NONE, 5, id="head"),
        pytest.param(b"", b"HTTP/1.1 200 OK", b"HEAD", Framing.NONE, None, id="head-without-length"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 200 OK", b"HEAD", Framing.NONE, None, id="head-chunked"
        ),
        pytest.param(b"", b"HTTP/1.1 204 No Content", b"GET", Framing.NONE, None, id="204"),
        pytest.param(b"Content-Length: 5\r\n", b"HTTP/1.1 304 Not Modified", b"GET", Framing.NONE, 5, id="304"),
        pytest.param(b"", b"HTTP/1.1 103 Early Hints", b"GET", Framing.NONE, None, id="103"),
        pytest.param(b"", b"HTTP/1.1 101 Switching Protocols", b"GET", Framing.NONE, None, id="101"),
    ],
)
def test_end_of_the_body(lines: bytes, start: bytes, method: bytes, framing: Framing, length: int | None) -> None:
    head = head_of(lines, start=start, method=method)
    assert (head.framing, head.content_length) == (framing, length)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"Content-Length: 5\r\nContent-Length: 5\r\n", id="length-repeated"),
        pytest.param(b"Content-Length: 5, 5\r\n", id="length-listed"),
        pytest.param(b"Content-Length: +5\r\n", id="length-signed"),
        pytest.param(b"Content-Length: 1000000000000000000\r\n", id="length-of-19-digits"),
        pytest.param(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", id="length-and-chunked"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", id="chunked-and-length"),
        pytest.param(b"Transfer-Encoding: gzip\r\n", id="gzip"),
        pytest.param(b"Transfer-Encoding: gzip, chunked\r\n", id="gzip-then-chunked"),
        pytest.param(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", id="chunked-twice"),
        pytest.param(b"Transfer-Encoding: identity\r\n", id="identity"),
        pytest.param(b"A : b\r\n", id="space-before-colon"),
        pytest.param(b"A: b\r\n c\r\n", id="folded"),
        pytest.param(b"A: b\nB: c\r\n", id="bare-lf"),
        pytest.param(b"A: b\x00\r\n", id="nul"),
    ],
)
def test_ambiguous_answer_is_a_bad_answer(lines: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        head_of(lines)


def test_chunked_from_http_1_0_is_a_bad_answer() -> None:
    with pytest.raises(UpstreamProtocolError, match="Transfer-Encoding"):
        head_of(b"Transfer-Encoding: chunked\r\n", start=b"HTTP/1.0 200 OK")


@pytest.mark.parametrize(("count", "fits"), [(MAX_FIELDS, True), (MAX_FIELDS + 1, False)])
def test_fields_of_an_answer_are_bounded(count: int, fits: bool) -> None:
    lines = b"A: 1\r\n" * count
    if fits:
        assert len(head_of(lines).fields) == count
        return
    with pytest.raises(UpstreamProtocolError, match="limit"):
        head_of(lines)


# --- persistence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "lines", "keeps"),
    [
        pytest.param(b"HTTP/1.1 200 OK", b"Content-Length: 1\r\n", True, id="http-1.1"),
        pytest.param(b"HTTP/1.1 200 OK", b"Content-Length: 1\r\nConnection: close\r\n", False, id="close"),
        pytest.param(b"HTTP/1.1 200 OK", b"Content-Length: 1\r\nConnection: x\r\n", True, id="another-option"),
        pytest.param(b"HTTP/1.1 200 OK", b"", False, id="body-until-close"),
        pytest.param(b"HTTP/1.0 200 OK", b"Content-Length: 1\r\n", False, id="http-1.0"),
        pytest.param(
            b"HTTP/1.0 200 OK", b"Content-Length: 1\r\nConnection: Keep-Alive\r\n", True, id="http-1.0-keep-alive"
        ),
        pytest.param(b"HTTP/1.0 200 OK", b"Connection: keep-alive\r\n", False, id="http-1.0-body-until-close"),
    ],
)
def test_connection_persists_as_the_answer_says(start: bytes, lines: bytes, keeps: bool) -> None:
    assert head_of(lines, start=start).keep_alive is keeps


# --- fields ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        pytest.param(b"Connection: close\r\n", [], id="connection"),
        pytest.param(b"Keep-Alive: timeout=5\r\nProxy-Connection: a\r\nTE: b\r\n", [], id="hop-by-hop"),
        pytest.param(b"Proxy-Authenticate: Basic\r\n", [b"Proxy-Authenticate"], id="of-another-proxy"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", [], id="transfer-encoding"),
        pytest.param(b"Connection: X-A\r\nx-a: 1\r\nX-B: 2\r\n", [b"X-B"], id="named"),
        pytest.param(b"Connection: keep-alive\r\nKeep-Alive: 5\r\n", [], id="named-and-hop-by-hop"),
        pytest.param(
            b"Connection: content-length\r\nContent-Length: 5\r\n", [b"Content-Length"], id="length-cannot-be-named"
        ),
        pytest.param(b"Upgrade: h2c\r\nConnection: Upgrade\r\n", [], id="offer-to-upgrade"),
        pytest.param(
            b"Set-Cookie: a\r\nSet-Cookie: b\r\nX_Y: 1\r\nServer: s\r\nHost: h\r\nVia: 1.1 v\r\nExpect: e\r\n",
            [b"Set-Cookie", b"Set-Cookie", b"X_Y", b"Server", b"Host", b"Via", b"Expect"],
            id="end-to-end",
        ),
    ],
)
def test_hop_by_hop_fields_end_here(lines: bytes, left: list[bytes]) -> None:
    assert kept(head_of(lines)) == left


@pytest.mark.parametrize("start", [b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 426 Upgrade Required"])
def test_upgrade_made_or_demanded_is_for_the_client(start: bytes) -> None:
    head = head_of(b"Upgrade: websocket\r\nConnection: Upgrade\r\nA: 1\r\n", start=start)
    assert (head.upgrade, kept(head)) == (b"websocket", [b"Upgrade", b"A"])


@pytest.mark.parametrize("status", [b"204 No Content", b"101 Switching Protocols", b"103 Early Hints"])
def test_answer_without_content_has_no_length(status: bytes) -> None:
    assert kept(head_of(b"Content-Length: 0\r\nA: 1\r\n", start=b"HTTP/1.1 " + status)) == [b"A"]


@pytest.mark.parametrize(
    ("lines", "has_date", "has_id"),
    [(b"", False, False), (b"Date: x\r\n", True, False), (b"x-request-id: y\r\n", False, True)],
)
def test_fields_that_we_might_add_are_noticed(lines: bytes, has_date: bool, has_id: bool) -> None:
    head = head_of(lines)
    assert (head.has_date, head.has_request_id) == (has_date, has_id)


# --- properties -----------------------------------------------------------------------------------------------


@given(st.integers(200, 999).filter(lambda status: status not in (204, 304)), fields)
def test_any_valid_answer_is_read_as_it_was_written(status: int, pairs: list[Field]) -> None:
    sent = [*pairs, (b"Content-Length", b"3")]
    head = parse(b"HTTP/1.1 %d Reason\r\n" % status + block(sent))

    assert (head.status, head.reason, head.fields, head.dropped) == (status, b"Reason", sent, [])
    assert (head.framing, head.content_length, head.keep_alive) == (Framing.LENGTH, 3, True)


@pytest.mark.parametrize("framing", ["Content-Length: 60", "Transfer-Encoding: chunked"])
def test_connection_of_a_204_that_announces_a_body_is_not_used_again(framing: str) -> None:
    head = ResponseParser().parse(f"HTTP/1.1 204 No Content\r\n{framing}\r\n\r\n".encode(), b"GET")
    assert (head.framing, head.keep_alive) == (Framing.NONE, False)


@pytest.mark.parametrize(
    ("begun", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\nX: a\x00", "a line has a control character"),
        (b"SSH-2.0-x", "not an HTTP answer"),
        (b"HTTP/1.1 20 OK\r\n", "invalid status line"),
    ],
)
def test_what_cannot_become_a_head_is_told_before_its_end(begun: bytes, fault: str) -> None:
    with pytest.raises(UpstreamProtocolError, match=fault):
        check_begun(begun)


@pytest.mark.parametrize("begun", [b"H", b"HTTP/", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nX: a"])
def test_what_may_become_a_head_is_waited_for(begun: bytes) -> None:
    check_begun(begun)
