"""Heads that leave the proxy: what came, without what ends here, and our own lines last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.forwarding import Forwarding
from app.protocol.heads import client_head, informational_head, upstream_head
from app.protocol.request import RequestHead, RequestParser
from app.protocol.response import ResponseParser
from tests.protocol.messages import block, fields, methods, targets
from tests.support.wire import Field, parse_head

AUTHORITY = b"127.0.0.1:5005"


def request(lines: bytes, *, line: bytes = b"GET /a HTTP/1.1") -> RequestHead:
    """A parsed request head."""
    return RequestParser(200).parse(line + b"\r\n" + lines + b"\r\n")


def response(lines: bytes, *, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """What becomes of an answer's head on its way to the client."""
    return client_head(ResponseParser().parse(line + b"\r\n" + lines + b"\r\n", b"GET"), b"Ours: 1\r\n")


# --- towards the upstream -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "lines", "sent"),
    [
        pytest.param(
            b"GET /a HTTP/1.1",
            b"hOsT:x\r\nA:  1\r\n",
            b"GET /a HTTP/1.1\r\nhOsT:x\r\nA:  1\r\nOurs: 1\r\n\r\n",
            id="untouched",
        ),
        pytest.param(
            b"GET /a HTTP/1.1",
            b"Host: x\r\nTE: t\r\nB: 2\r\n",
            b"GET /a HTTP/1.1\r\nHost: x\r\nB: 2\r\nOurs: 1\r\n\r\n",
            id="hop-by-hop-left-out",
        ),
        pytest.param(
            b"GET /a HTTP/1.1",
            b"Host: x\r\nTE: t\r\nTE:t\r\nB:2\r\nKeep-Alive:  5\r\n",
            b"GET /a HTTP/1.1\r\nHost: x\r\nB:2\r\nOurs: 1\r\n\r\n",
            id="hop-by-hop-in-odd-white-space",
        ),
        pytest.param(
            b"POST /a HTTP/1.1",
            b"Host: x\r\nTransfer-Encoding: CHUNKED\r\n",
            b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nOurs: 1\r\n\r\n",
            id="reframed",
        ),
        pytest.param(
            b"GET /a HTTP/1.0",
            b"A: 1\r\n",
            b"GET /a HTTP/1.1\r\nA: 1\r\nHost: 127.0.0.1:5005\r\nOurs: 1\r\n\r\n",
            id="http-1.0-gets-version-and-host",
        ),
        pytest.param(
            b"GET /a HTTP/1.0",
            b"Host: x\r\n",
            b"GET /a HTTP/1.1\r\nHost: x\r\nOurs: 1\r\n\r\n",
            id="http-1.0-keeps-its-host",
        ),
        pytest.param(
            b"GET /a HTTP/1.0", b"", b"GET /a HTTP/1.1\r\nHost: 127.0.0.1:5005\r\nOurs: 1\r\n\r\n", id="no-fields"
        ),
    ],
)
def test_head_for_the_upstream(line: bytes, lines: bytes, sent: bytes) -> None:
    assert upstream_head(request(lines, line=line), b"Ours: 1\r\n", AUTHORITY) == sent


@given(
    methods,
    targets,
    fields,
    st.sampled_from([b"", b"Keep-Alive: 5\r\n", b"Connection: close, X-Named\r\nX-Named: 1\r\n", b"X_Alias: 1\r\n"]),
    st.sampled_from([b"", b"Content-Length: 3\r\n", b"Content-Length: 03\r\n", b"Transfer-Encoding: Chunked\r\n"]),
    st.sampled_from([b"1.0", b"1.1"]),
)
def test_composed_head_parses_again_to_the_same_end_to_end_fields(
    method: bytes, target: bytes, pairs: list[Field], hop_by_hop: bytes, framing: bytes, version: bytes
) -> None:
    if version == b"1.0" and b"Chunked" in framing:
        framing = b""
    lines = b"Host: x.test\r\n" + hop_by_hop + block(pairs)[:-2] + framing
    head = request(lines, line=method + b" " + target + b" HTTP/" + version)
    composed = upstream_head(head, b"Ours: 1\r\n", AUTHORITY)
    again = RequestParser(200).parse(composed)

    assert (again.method, again.target, again.http10) == (method, target, False)
    assert (again.content_length, again.chunked) == (head.content_length, head.chunked)
    end_to_end = [(b"Host", b"x.test"), *pairs, (b"Ours", b"1")]
    assert [field for field in again.fields if field[0] not in (b"Content-Length", b"Transfer-Encoding")] == end_to_end
    assert set(again.dropped) <= {i for i, (name, _) in enumerate(again.fields) if name == b"Transfer-Encoding"}
    assert parse_head(composed).raw == composed, "canonical to a strict reader too"


# --- towards the client ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "lines", "sent"),
    [
        pytest.param(
            b"HTTP/1.1 200 Fine \xe9",
            b"sErVeR:x\r\n",
            b"HTTP/1.1 200 Fine \xe9\r\nsErVeR:x\r\nOurs: 1\r\n\r\n",
            id="untouched",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK",
            b"A: 1\r\nConnection: close\r\nB: 2\r\n",
            b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nOurs: 1\r\n\r\n",
            id="hop-by-hop-left-out",
        ),
        pytest.param(b"HTTP/1.0 404 No", b"", b"HTTP/1.1 404 No\r\nOurs: 1\r\n\r\n", id="our-own-version"),
        pytest.param(b"HTTP/1.1 200", b"A: 1\r\n", b"HTTP/1.1 200 \r\nA: 1\r\nOurs: 1\r\n\r\n", id="space-mended"),
        pytest.param(b"HTTP/1.1 204 ", b"Content-Length: 0\r\n", b"HTTP/1.1 204 \r\nOurs: 1\r\n\r\n", id="no-content"),
    ],
)
def test_head_for_the_client(line: bytes, lines: bytes, sent: bytes) -> None:
    assert response(lines, line=line) == sent


def test_informational_head_has_nothing_of_ours() -> None:
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n"
    head = ResponseParser().parse(raw, b"GET")
    assert informational_head(head) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@given(st.integers(200, 999), fields, st.sampled_from([b"", b"Keep-Alive: 5\r\n", b"Connection: X\r\nX: 1\r\n"]))
def test_head_for_the_client_parses_again_to_the_same_fields(
    status: int, pairs: list[Field], hop_by_hop: bytes
) -> None:
    # The fields that `Connection` names above must not be among the drawn ones.
    pairs = [(name, value) for name, value in pairs if name.lower() != b"x"]
    again = ResponseParser().parse(response(hop_by_hop + block(pairs)[:-2], line=b"HTTP/1.1 %d R" % status), b"GET")

    assert (again.status, again.reason, again.fields) == (status, b"R", [*pairs, (b"Ours", b"1")])


def test_absolute_target_of_http_1_0_names_the_host() -> None:
    head = RequestParser(max_fields=10).parse(b"GET http://shop.test/x HTTP/1.0\r\n\r\n")
    sent = upstream_head(head, Forwarding(b"192.0.2.1", b"http", 5004, 0).lines(head), b"127.0.0.1:5005")
    assert b"\r\nHost: shop.test\r\n" in sent
    assert b"\r\nX-Forwarded-Host: shop.test\r\n" in sent
