"""Heads that leave the proxy: what came, without what ends here, and our own lines last."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.heads import Forwarding, client_head, informational_head, upstream_head
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


# --- forwarding fields ----------------------------------------------------------------------------------------


def forwarded(lines: bytes, *, hops: int, scheme: bytes = b"http") -> list[Field]:
    """All forwarding fields that the upstream gets, the client's own among them, in order."""
    head = request(lines)
    added = Forwarding(b"9.9.9.9", scheme, 5004, hops).lines(head)
    fields = parse_head(upstream_head(head, added, AUTHORITY)).fields
    return [(name, value) for name, value in fields if re.match(rb"(?i)x-forwarded-|forwarded", name)]


@pytest.mark.parametrize(
    ("host", "port"),
    [
        (b"x.test", b"5004"),
        (b"x.test:8443", b"8443"),
        (b"x.test:", b"5004"),
        (b"[::1]", b"5004"),
        (b"[::1]:81", b"81"),
        (b"", b"5004"),
    ],
)
def test_forwarding_fields_say_what_the_client_asked_for(host: bytes, port: bytes) -> None:
    assert forwarded(b"Host: " + host + b"\r\n", hops=0) == [
        (b"X-Forwarded-For", b"9.9.9.9"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Port", port),
    ]


CLAIMS = (
    b"Host: x\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: shop\r\nX-Forwarded-Port: 443\r\nForwarded: for=1.1.1.1\r\n"
)


def test_claims_of_an_untrusted_client_are_replaced() -> None:
    assert forwarded(CLAIMS, hops=0) == forwarded(b"Host: x\r\n", hops=0)


def test_trusted_proxy_keeps_its_word_and_joins_the_list() -> None:
    assert forwarded(CLAIMS, hops=1) == [
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"shop"),
        (b"X-Forwarded-Port", b"443"),
        (b"Forwarded", b"for=1.1.1.1"),
        (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2, 9.9.9.9"),
    ]


def test_what_a_trusted_proxy_leaves_out_is_filled_in() -> None:
    assert forwarded(b"Host: x:81\r\nX-Forwarded-Proto: https\r\n", hops=1) == [
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-For", b"9.9.9.9"),
        (b"X-Forwarded-Host", b"x:81"),
        (b"X-Forwarded-Port", b"81"),
    ]


def test_trusted_proxy_that_says_nothing_is_the_client() -> None:
    assert forwarded(b"Host: x\r\n", hops=1) == forwarded(b"Host: x\r\n", hops=0)


def test_lines_follow_the_host_from_request_to_request() -> None:
    forwarding = Forwarding(b"9.9.9.9", b"https", 5004, 0)
    first = forwarding.lines(request(b"Host: a\r\n"))
    assert forwarding.lines(request(b"Host: a\r\n")) == first
    assert b"X-Forwarded-Host: b\r\n" in forwarding.lines(request(b"Host: b\r\n"))
    assert b"X-Forwarded-Proto: https\r\n" in first


@pytest.mark.parametrize(
    ("hops", "said", "client"),
    [
        (0, b"1.1.1.1", "9.9.9.9"),
        (1, b"1.1.1.1", "1.1.1.1"),
        (1, b"6.6.6.6, 1.1.1.1", "1.1.1.1"),
        (2, b"6.6.6.6, 1.1.1.1,2.2.2.2", "1.1.1.1"),
        (3, b"1.1.1.1", "1.1.1.1"),
        (1, b"", "9.9.9.9"),
    ],
)
def test_client_is_the_address_that_the_last_trusted_proxy_saw(hops: int, said: bytes, client: str) -> None:
    lines = b"Host: x\r\n" + (b"X-Forwarded-For: " + said + b"\r\n" if said else b"")
    assert Forwarding(b"9.9.9.9", b"http", 5004, hops).client_address(request(lines)) == client


def test_absolute_target_of_http_1_0_names_the_host() -> None:
    head = RequestParser(max_fields=10).parse(b"GET http://shop.test/x HTTP/1.0\r\n\r\n")
    sent = upstream_head(head, Forwarding(b"192.0.2.1", b"http", 5004, 0).lines(head), b"127.0.0.1:5005")
    assert b"\r\nHost: shop.test\r\n" in sent
    assert b"\r\nX-Forwarded-Host: shop.test\r\n" in sent


@pytest.mark.parametrize(("scheme", "port"), [(b"https", b"443"), (b"http", b"80"), (b"gopher", b"5004")])
def test_port_follows_from_the_scheme_that_a_trusted_proxy_names(scheme: bytes, port: bytes) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Proto: %b\r\n\r\n" % scheme
    lines = Forwarding(b"192.0.2.1", b"http", 5004, 1).lines(RequestParser(max_fields=10).parse(raw))
    assert b"X-Forwarded-Port: %b\r\n" % port in lines
