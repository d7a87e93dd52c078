"""Who asks and how: what is written about an untrusted client, and what becomes of what trusted proxies say."""

from __future__ import annotations

import re

import pytest

from app.protocol.forwarding import Forwarding
from app.protocol.heads import upstream_head
from app.protocol.request import RequestHead, RequestParser
from tests.support.wire import Field, parse_head

AUTHORITY = b"127.0.0.1:5005"


def request(lines: bytes, *, pass_aliases: bool = False) -> RequestHead:
    """A parsed request head."""
    return RequestParser(200, pass_aliases=pass_aliases).parse(b"GET /a HTTP/1.1\r\n" + lines + b"\r\n")


def sent(lines: bytes, *, hops: int, pass_aliases: bool = False) -> list[Field]:
    """All fields that the upstream gets, in order."""
    head = request(b"Host: x\r\n" + lines, pass_aliases=pass_aliases)
    added = Forwarding(b"9.9.9.9", b"http", 5004, hops).lines(head)
    return list(parse_head(upstream_head(head, added, AUTHORITY)).fields)


def forwarded(lines: bytes, *, hops: int, scheme: bytes = b"http") -> list[Field]:
    """All forwarding fields that the upstream gets, the client's own among them, in order."""
    head = request(lines)
    added = Forwarding(b"9.9.9.9", scheme, 5004, hops).lines(head)
    fields = parse_head(upstream_head(head, added, AUTHORITY)).fields
    return [(name, value) for name, value in fields if re.match(rb"(?i)x-(forwarded-|real-ip)|forwarded", name)]


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
        (b"X-Real-IP", b"9.9.9.9"),
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
        (b"X-Real-IP", b"2.2.2.2"),
    ]


def test_what_a_trusted_proxy_leaves_out_is_filled_in() -> None:
    assert forwarded(b"Host: x:81\r\nX-Forwarded-Proto: https\r\n", hops=1) == [
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-For", b"9.9.9.9"),
        (b"X-Real-IP", b"9.9.9.9"),
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


@pytest.mark.parametrize(("scheme", "port"), [(b"https", b"443"), (b"http", b"80"), (b"gopher", b"5004")])
def test_port_follows_from_the_scheme_that_a_trusted_proxy_names(scheme: bytes, port: bytes) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Proto: %b\r\n\r\n" % scheme
    lines = Forwarding(b"192.0.2.1", b"http", 5004, 1).lines(RequestParser(max_fields=10).parse(raw))
    assert b"X-Forwarded-Port: %b\r\n" % port in lines


# --- the family -----------------------------------------------------------------------------------------------

FAMILY = [
    *(b"Forwarded", b"X-Forwarded", b"Forwarded-For", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host"),
    *(b"X-Forwarded-Port", b"X-Forwarded-Prefix", b"X-Forwarded-Ssl", b"X-Forwarded-Protocol", b"X-Forwarded-Scheme"),
    *(b"X-Forwarded-Server", b"X-Forwarded-By", b"X-Forwarded-Path", b"X-Forwarded-Uri", b"X-Forwarded-User"),
    *(b"X-Real-IP", b"Client-IP", b"X-Client-IP", b"True-Client-IP", b"X-Cluster-Client-IP", b"Fastly-Client-IP"),
    *(b"CF-Connecting-IP", b"CF-Connecting-IPv6", b"DO-Connecting-IP", b"X-Azure-ClientIP", b"WL-Proxy-Client-IP"),
    *(b"X-Originating-IP", b"X-Remote-IP", b"X-Remote-Addr", b"X-Appengine-User-IP", b"CloudFront-Viewer-Address"),
    *(b"X-Original-URL", b"X-Original-Host", b"X-Original-For", b"X-Original-Proto", b"X-Original-Forwarded-For"),
    *(b"X-Rewrite-URL", b"X-Script-Name", b"Front-End-Https", b"X-Url-Scheme", b"X-Scheme", b"X-Client-Proto"),
    *(b"CF-Visitor", b"CloudFront-Forwarded-Proto", b"X-ARR-SSL"),
]


def respelled(name: bytes, spelling: str) -> bytes:
    """The name as servers that map names to variables take it for the same one."""
    return {"lower": name.lower(), "UPPER": name.upper(), "_": name.replace(b"-", b"_"), ".": name.replace(b"-", b".")}[
        spelling
    ]


@pytest.mark.parametrize("spelling", ["lower", "UPPER", "_", "."])
@pytest.mark.parametrize("name", FAMILY, ids=lambda name: name.decode())
def test_family_of_an_untrusted_client_ends_here_in_every_spelling(name: bytes, spelling: str) -> None:
    assert sent(respelled(name, spelling) + b": 6.6.6.6\r\n", hops=0) == sent(b"", hops=0)


@pytest.mark.parametrize("spelling", ["lower", "_", "."])
@pytest.mark.parametrize("name", FAMILY, ids=lambda name: name.decode())
def test_family_ends_here_also_where_names_with_underscores_pass(name: bytes, spelling: str) -> None:
    line = respelled(name, spelling) + b": 6.6.6.6\r\n"
    assert sent(line, hops=0, pass_aliases=True) == sent(b"", hops=0)


@pytest.mark.parametrize(
    "name",
    [b"Forward", b"X-Forward", b"X-Realm-IP", b"Client", b"X-Scheme-Id", b"X-Original", b"Host-Port", b"X-API-Key"],
)
def test_names_beside_the_family_pass(name: bytes) -> None:
    assert (name, b"1") in sent(name + b": 1\r\n", hops=0)


@pytest.mark.parametrize("name", [b"X-Forwarded-Prefix", b"X-Original-URL", b"CF-Connecting-IP", b"X-Forwarded-User"])
def test_rest_of_the_family_passes_from_a_trusted_proxy(name: bytes) -> None:
    assert (name, b"1") in sent(name + b": 1\r\n", hops=1)


def test_request_that_is_sent_again_gets_the_same_lines() -> None:
    for hops in (0, 1):
        head = request(CLAIMS)
        forwarding = Forwarding(b"9.9.9.9", b"http", 5004, hops)
        first = upstream_head(head, forwarding.lines(head), AUTHORITY)
        assert upstream_head(head, forwarding.lines(head), AUTHORITY) == first


# --- the scheme -----------------------------------------------------------------------------------------------

SCHEME_NAMES = rb"(?i)x-forwarded-(proto|protocol|ssl|scheme)|x-(url-)?scheme|front-end-https|forwarded"


def scheme_fields(lines: bytes, *, hops: int = 1) -> list[Field]:
    """The fields that speak of the scheme, as the upstream gets them."""
    return [(name, value) for name, value in sent(lines, hops=hops) if re.fullmatch(SCHEME_NAMES, name)]


def port_of(lines: bytes, *, hops: int = 1) -> bytes:
    return dict(sent(lines, hops=hops))[b"X-Forwarded-Port"]


HTTPS = (b"X-Forwarded-Proto", b"https")
HTTP = (b"X-Forwarded-Proto", b"http")


@pytest.mark.parametrize(
    ("line", "scheme", "goes_out"),
    [
        pytest.param(b"X-Forwarded-Proto: https", b"https", [HTTPS], id="proto"),
        pytest.param(b"X-Forwarded-Proto: HTTPS", b"https", [HTTPS], id="proto-in-capitals"),
        pytest.param(b"X-Forwarded-Proto: https \t", b"https", [HTTPS], id="proto-with-space"),
        pytest.param(b"X-Forwarded-Proto: wss", b"https", [HTTPS], id="proto-of-a-websocket"),
        pytest.param(b"X-Forwarded-Proto: http, https", b"https", [HTTPS], id="proto-added-on-the-right"),
        pytest.param(b"X-Forwarded-Proto: https,http", b"http", [HTTP], id="proto-forged-on-the-left"),
        pytest.param(b"X-Forwarded-Proto: gopher", b"", [HTTP], id="proto-that-names-none"),
        pytest.param(b"X-Forwarded-Ssl: on", b"https", [(b"X-Forwarded-Ssl", b"on"), HTTPS], id="ssl"),
        pytest.param(b"X-Forwarded-Ssl: ON", b"https", [HTTPS], id="ssl-in-capitals"),
        pytest.param(b"X-Forwarded-Ssl: off", b"http", [(b"X-Forwarded-Ssl", b"off"), HTTP], id="ssl-off"),
        pytest.param(
            b"X-Forwarded-Protocol: ssl", b"https", [(b"X-Forwarded-Protocol", b"ssl"), HTTPS], id="protocol-ssl"
        ),
        pytest.param(b"X-Forwarded-Protocol: https", b"https", [HTTPS], id="protocol-https"),
        pytest.param(
            b"X-Forwarded-Scheme: https", b"https", [(b"X-Forwarded-Scheme", b"https"), HTTPS], id="forwarded-scheme"
        ),
        pytest.param(b"X-Url-Scheme: https", b"https", [(b"X-Url-Scheme", b"https"), HTTPS], id="url-scheme"),
        pytest.param(b"X-Scheme: https", b"https", [(b"X-Scheme", b"https"), HTTPS], id="x-scheme"),
        pytest.param(b"Front-End-Https: On", b"https", [(b"Front-End-Https", b"On"), HTTPS], id="front-end-https"),
        pytest.param(
            b"Forwarded: for=1.1.1.1;Proto=https",
            b"https",
            [(b"Forwarded", b"for=1.1.1.1;Proto=https"), HTTPS],
            id="forwarded",
        ),
        pytest.param(
            b'Forwarded: for="a,b";proto=http, for=1.1.1.1;host="a;b";proto="https"',
            b"https",
            [(b"Forwarded", b'for="a,b";proto=http, for=1.1.1.1;host="a;b";proto="https"'), HTTPS],
            id="forwarded-quoted",
        ),
        pytest.param(b"X-Forwarded-Prefix: /a", b"", [HTTP], id="nothing-said"),
    ],
)
def test_scheme_is_taken_from_what_a_trusted_proxy_says(line: bytes, scheme: bytes, goes_out: list[Field]) -> None:
    line += b"\r\n"
    assert scheme_fields(line) == goes_out
    assert Forwarding(b"9.9.9.9", b"http", 5004, 1).is_secure(request(b"Host: x\r\n" + line)) is (scheme == b"https")
    assert port_of(line) == {b"https": b"443", b"http": b"80", b"": b"5004"}[scheme]
    assert scheme_fields(line, hops=0) == [HTTP], "and from nobody else"


@pytest.mark.parametrize(
    ("lines", "goes_out"),
    [
        pytest.param(
            b"X-Forwarded-Ssl: on\r\nX-Forwarded-Proto: https\r\n",
            [(b"X-Forwarded-Ssl", b"on"), HTTPS],
            id="all-agree",
        ),
        pytest.param(b"X-Forwarded-Ssl: on\r\nX-Forwarded-Proto: http\r\n", [HTTP], id="proto-before-ssl"),
        pytest.param(
            b"X-Forwarded-Protocol: https\r\nX-Forwarded-Proto: https\r\n", [HTTPS], id="other-word-for-https"
        ),
        pytest.param(b"X-Scheme: http\r\nX-Forwarded-Proto: https\r\n", [HTTPS], id="proto-before-x-scheme"),
        pytest.param(b"Forwarded: proto=http\r\nX-Forwarded-Proto: https\r\n", [HTTPS], id="proto-before-forwarded"),
        pytest.param(
            b"Forwarded: proto=https\r\nX-Forwarded-Ssl: off\r\n",
            [(b"Forwarded", b"proto=https"), HTTPS],
            id="forwarded-before-ssl",
        ),
        pytest.param(
            b"X-Forwarded-Proto: gopher\r\nX-Forwarded-Ssl: on\r\n",
            [(b"X-Forwarded-Ssl", b"on"), HTTPS],
            id="first-that-names-one",
        ),
        pytest.param(b"X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n", [HTTPS], id="repeated"),
        pytest.param(b"X-Forwarded-Ssl: on\r\nX-Forwarded-Ssl: off\r\n", [HTTP], id="ssl-repeated"),
    ],
)
def test_contradictions_are_decided_and_do_not_pass(lines: bytes, goes_out: list[Field]) -> None:
    assert scheme_fields(lines) == goes_out


def test_fields_that_connection_names_are_not_believed() -> None:
    lines = (
        b"Connection: X-Forwarded-Proto, X-Forwarded-For\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 1.1.1.1\r\n"
    )
    assert sent(lines, hops=1) == sent(b"", hops=1)


# --- address, host and port -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hops", "lines", "client", "chain"),
    [
        pytest.param(0, b"X-Real-IP: 1.1.1.1\r\n", b"9.9.9.9", b"9.9.9.9", id="untrusted"),
        pytest.param(1, b"X-Real-IP: 1.1.1.1\r\n", b"1.1.1.1", b"1.1.1.1, 9.9.9.9", id="x-real-ip-alone"),
        pytest.param(
            1,
            b"X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 1.1.1.1\r\n",
            b"1.1.1.1",
            b"1.1.1.1, 9.9.9.9",
            id="forged-beside",
        ),
        pytest.param(
            2,
            b"X-Forwarded-For: 6.6.6.6, 1.1.1.1, 2.2.2.2\r\n",
            b"1.1.1.1",
            b"6.6.6.6, 1.1.1.1, 2.2.2.2, 9.9.9.9",
            id="two",
        ),
        pytest.param(1, b"X-Forwarded-For: 1.1.1.1:4711\r\n", b"1.1.1.1", b"1.1.1.1:4711, 9.9.9.9", id="with-port"),
        pytest.param(
            1,
            b"X-Forwarded-For: [2001:db8::1]:4711\r\n",
            b"2001:db8::1",
            b"[2001:db8::1]:4711, 9.9.9.9",
            id="v6-with-port",
        ),
        pytest.param(1, b"X-Forwarded-For: 2001:db8::1\r\n", b"2001:db8::1", b"2001:db8::1, 9.9.9.9", id="v6"),
        pytest.param(1, b"X-Forwarded-For: unknown\r\n", b"unknown", b"unknown, 9.9.9.9", id="not-told"),
        pytest.param(
            1,
            b'Forwarded: for="[2001:db8::1]:4711"\r\n',
            b"2001:db8::1",
            b"[2001:db8::1]:4711, 9.9.9.9",
            id="forwarded",
        ),
        pytest.param(1, b"Forwarded: proto=https\r\n", b"9.9.9.9", b"9.9.9.9", id="forwarded-without-for"),
    ],
)
def test_x_real_ip_is_the_client_as_the_last_trusted_proxy_saw_it(
    hops: int, lines: bytes, client: bytes, chain: bytes
) -> None:
    fields = sent(lines, hops=hops)
    assert [value for name, value in fields if name.lower() == b"x-real-ip"] == [client]
    assert [value for name, value in fields if name.lower() == b"x-forwarded-for"] == [chain]
    assert (
        Forwarding(b"9.9.9.9", b"http", 5004, hops).client_address(request(b"Host: x\r\n" + lines)) == client.decode()
    )


@pytest.mark.parametrize(
    ("lines", "host", "port"),
    [
        pytest.param(b"X-Forwarded-Host: shop\r\nX-Forwarded-Proto: https\r\n", b"shop", b"443", id="host-and-scheme"),
        pytest.param(
            b"X-Forwarded-Host: shop:8443\r\nX-Forwarded-Ssl: on\r\n", b"shop:8443", b"8443", id="host-with-port"
        ),
        pytest.param(b"X-Forwarded-Host: shop\r\n", b"shop", b"80", id="host-alone"),
        pytest.param(b"X-Forwarded-Host:\r\nX-Forwarded-Port:\r\n", b"inner:5004", b"5004", id="empty"),
        pytest.param(b"Forwarded: host=shop;proto=https\r\n", b"shop", b"443", id="forwarded"),
        pytest.param(
            b"X-Forwarded-Port: 8443\r\nX-Forwarded-Proto: https\r\n", b"inner:5004", b"8443", id="port-alone"
        ),
    ],
)
def test_host_and_port_are_those_that_the_client_asked_for(lines: bytes, host: bytes, port: bytes) -> None:
    found = dict(forwarded(b"Host: inner:5004\r\n" + lines, hops=1))
    assert (found[b"X-Forwarded-Host"], found[b"X-Forwarded-Port"]) == (host, port)
    assert len(found) == len(forwarded(b"Host: inner:5004\r\n" + lines, hops=1)), "each once"


def test_forwarded_that_names_no_proxy_says_nothing() -> None:
    assert scheme_fields(b"Forwarded: ,\r\n")[1:] == scheme_fields(b"")
