"""What the corpus cannot say: fields that depend on the connection, versions, pipelines and odd bodies."""

from __future__ import annotations

import re

import pytest

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, answering, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess
from tests.support.wire import Field, fields_block

GET = b"GET /a HTTP/1.1\r\nHost: x.test\r\n"


def get(*fields: Field) -> bytes:
    """A GET of /a with these fields after Host."""
    return GET + fields_block(fields) + b"\r\n"


def test_request_carries_the_clients_fields_then_the_forwarding_fields(
    router: RouterProcess, upstream: RawUpstream
) -> None:
    router.ask(get((b"User-Agent", b"t"), (b"X-Request-ID", b"abc-1")))
    assert list(upstream.only.head.fields) == [
        (b"Host", b"x.test"),
        (b"User-Agent", b"t"),
        (b"X-Request-ID", b"abc-1"),
        (b"X-Forwarded-For", b"127.0.0.1"),
        (b"X-Real-IP", b"127.0.0.1"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"x.test"),
        (b"X-Forwarded-Port", b"%d" % router.port),
    ]


def test_no_accept_or_user_agent_is_invented(router: RouterProcess, upstream: RawUpstream) -> None:
    router.ask(get())
    names = {name.lower() for name in upstream.only.head.names()}
    assert names.isdisjoint({b"user-agent", b"accept", b"accept-encoding", b"connection", b"content-length", b"via"})


def test_field_lines_pass_byte_for_byte(router: RouterProcess, upstream: RawUpstream) -> None:
    router.ask(b"GET /a HTTP/1.1\r\nhOST:x.test\r\nAccept:  a  \r\n\r\n")
    assert upstream.only.head.raw.startswith(b"GET /a HTTP/1.1\r\nhOST:x.test\r\nAccept:  a  \r\n")


@pytest.mark.parametrize(
    ("host", "forwarded_host", "port"),
    [
        pytest.param(b"x.test:8080", b"x.test:8080", b"8080", id="port-in-host"),
        pytest.param(b"[::1]:81", b"[::1]:81", b"81", id="ipv6-with-port"),
        pytest.param(b"[::1]", b"[::1]", None, id="ipv6-without-port"),
        pytest.param(b"x.test", b"x.test", None, id="no-port"),
    ],
)
def test_forwarded_host_and_port_follow_the_host_field(
    router: RouterProcess, upstream: RawUpstream, host: bytes, forwarded_host: bytes, port: bytes | None
) -> None:
    router.ask(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    head = upstream.only.head
    assert head.value(b"X-Forwarded-Host") == forwarded_host
    assert head.value(b"X-Forwarded-Port") == (port or b"%d" % router.port)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(b"X-Forwarded-For", b"127.0.0.1", id="for"),
        pytest.param(b"x-forwarded-for", b"127.0.0.1", id="for-in-lower-case"),
        pytest.param(b"X-Forwarded-Proto", b"http", id="proto"),
        pytest.param(b"X-Forwarded-Host", b"x.test", id="host"),
        pytest.param(b"X-Forwarded-Port", None, id="port"),
    ],
)
def test_forwarding_field_of_an_untrusted_client_is_replaced(
    router: RouterProcess, upstream: RawUpstream, name: bytes, expected: bytes | None
) -> None:
    router.ask(get((name, b"6.6.6.6"), (name, b"7.7.7.7")))
    assert upstream.only.head.value(name) == (expected or b"%d" % router.port)


@pytest.mark.parametrize("name", [b"Forwarded", b"forwarded"])
def test_forwarded_of_an_untrusted_client_is_dropped(router: RouterProcess, upstream: RawUpstream, name: bytes) -> None:
    router.ask(get((name, b"for=6.6.6.6;proto=https")))
    assert upstream.only.head.values(b"Forwarded") == []


@pytest.mark.parametrize("named", [b"X-Forwarded-For", b"X-Request-ID", b"Host", b"close, x-forwarded-proto"])
def test_connection_cannot_take_away_what_the_router_vouches_for(
    router: RouterProcess, upstream: RawUpstream, named: bytes
) -> None:
    router.ask(get((b"Connection", named)))
    head = upstream.only.head
    assert head.value(b"Host") == b"x.test"
    assert head.value(b"X-Forwarded-For") == b"127.0.0.1"
    assert head.value(b"X-Forwarded-Proto") == b"http"
    assert head.value(b"X-Request-ID")


def test_connection_cannot_take_away_the_framing(router: RouterProcess, upstream: RawUpstream) -> None:
    router.ask(
        b"POST / HTTP/1.1\r\nHost: x.test\r\nConnection: Content-Length, Transfer-Encoding\r\n",
        b"Content-Length: 5\r\n\r\nhello",
    )
    assert upstream.only.body == b"hello"


@pytest.mark.parametrize("request_id", [b"a", b"Az09._:/+=@-", b"x" * 128])
def test_usable_request_id_is_kept_and_returned(
    router: RouterProcess, upstream: RawUpstream, request_id: bytes
) -> None:
    answer = router.ask(get((b"X-Request-ID", request_id)))
    assert upstream.only.head.value(b"X-Request-ID") == request_id
    assert answer.value(b"X-Request-ID") == request_id


@pytest.mark.parametrize(
    "given",
    [
        pytest.param([], id="none"),
        pytest.param([(b"X-Request-ID", b"")], id="empty"),
        pytest.param([(b"X-Request-ID", b"x" * 129)], id="too-long"),
        pytest.param([(b"X-Request-ID", b"a b")], id="space"),
        pytest.param([(b"X-Request-ID", b'a"b')], id="quote"),
        pytest.param([(b"X-Request-ID", b"\xe9")], id="non-ascii"),
        pytest.param([(b"X-Request-ID", b"a"), (b"x-request-id", b"b")], id="repeated"),
    ],
)
def test_missing_or_unusable_request_id_is_made(
    router: RouterProcess, upstream: RawUpstream, given: list[Field]
) -> None:
    answer = router.ask(get(*given))
    made = upstream.only.head.value(b"X-Request-ID")
    assert made is not None
    assert re.fullmatch(rb"[A-Za-z0-9._:/+=@-]{8,128}", made)
    assert answer.value(b"X-Request-ID") == made


def test_made_request_ids_differ(router: RouterProcess, upstream: RawUpstream) -> None:
    ids = {router.ask(get()).value(b"X-Request-ID") for _ in range(20)}
    assert len(ids) == 20


def test_request_id_of_the_answer_is_left_to_the_upstream(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(reply(fields=[(b"X-Request-Id", b"mine")]))
    assert router.ask(get()).head.values(b"X-Request-ID") == [b"mine"]


def test_no_server_or_date_is_put_in_place_of_the_upstreams(router: RouterProcess, upstream: RawUpstream) -> None:
    fields = [(b"Date", b"Mon, 01 Jan 2001 00:00:00 GMT"), (b"Server", b"their/1.0")]
    upstream.answers(reply(fields=fields))
    answer = router.ask(get())
    assert answer.head.values(b"Date") == [b"Mon, 01 Jan 2001 00:00:00 GMT"]
    assert answer.head.values(b"Server") == [b"their/1.0"]


def test_no_server_is_added_to_an_answer_without(router: RouterProcess, upstream: RawUpstream) -> None:
    assert router.ask(get()).head.values(b"Server") == []


def test_cookie_of_one_client_is_not_sent_with_the_next_request(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(reply(fields=[(b"Set-Cookie", b"session=secret; Path=/")]))
    router.ask(get())
    router.ask(get())
    assert upstream.exchanges[1].head.values(b"Cookie") == []


def test_redirect_is_handed_to_the_client_and_not_followed(router: RouterProcess, upstream: RawUpstream) -> None:
    target = b"http://127.0.0.1:%d/b" % upstream.port
    upstream.answers(reply(b"", b"302 Found", [(b"Location", target)]))
    answer = router.ask(get())
    assert (answer.status, answer.value(b"Location")) == (302, target)
    assert len(upstream.exchanges) == 1


def test_compressed_body_is_not_decoded(router: RouterProcess, upstream: RawUpstream) -> None:
    body = bytes.fromhex("1f8b0800000000000003cb48cdc9c907008 6a61036050000 00".replace(" ", ""))
    upstream.answers(reply(body, fields=[(b"Content-Encoding", b"gzip")]))
    answer = router.ask(get())
    assert (answer.body, answer.value(b"Content-Encoding")) == (body, b"gzip")


def test_every_byte_value_passes_in_both_bodies(router: RouterProcess, upstream: RawUpstream) -> None:
    every = bytes(range(256)) * 300
    upstream.answers(reply(every))
    answer = router.ask(b"POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: %d\r\n\r\n" % len(every), every)
    assert upstream.only.body == every
    assert answer.body == every


def test_http_1_0_client_gets_its_answer_and_a_close(router: RouterProcess, upstream: RawUpstream) -> None:
    with router.connect() as client:
        answer = client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert (answer.status, answer.body) == (200, b"ok")
        assert client.how_it_ends() == "closed"


def test_http_1_0_request_without_host_goes_upstream_with_one(router: RouterProcess, upstream: RawUpstream) -> None:
    router.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert len(upstream.only.head.values(b"Host")) == 1
    assert upstream.only.version == b"HTTP/1.1"


def test_http_1_0_client_that_asks_for_it_is_kept_alive(router: RouterProcess, upstream: RawUpstream) -> None:
    request = b"GET / HTTP/1.0\r\nHost: x.test\r\nConnection: keep-alive\r\n\r\n"
    with router.connect() as client:
        first = client.ask(request)
        assert (first.value(b"Connection") or b"").lower() == b"keep-alive"
        assert client.ask(request).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", id="chunked"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            id="chunked-with-trailers",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", id="until-close"),
    ],
)
def test_http_1_0_client_is_never_sent_chunks(router: RouterProcess, upstream: RawUpstream, raw: bytes) -> None:
    upstream.answers(raw, then_close=b"chunked" not in raw)
    with router.connect() as client:
        answer = client.ask(b"GET / HTTP/1.0\r\nHost: x.test\r\nConnection: keep-alive\r\n\r\n")
    assert (answer.framing, answer.body) == ("close", b"abc")
    assert answer.head.values(b"Transfer-Encoding") == []


def test_http_1_0_client_is_never_sent_interim_answers(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + reply())
    answer = router.ask(b"GET / HTTP/1.0\r\nHost: x.test\r\n\r\n")
    assert (answer.interim, answer.body) == ((), b"ok")


def test_client_that_asks_for_close_is_closed_after_the_answer(router: RouterProcess, upstream: RawUpstream) -> None:
    with router.connect() as client:
        answer = client.ask(get((b"Connection", b"close")))
        assert answer.value(b"Connection") == b"close"
        assert client.how_it_ends() == "closed"


def test_close_of_the_upstream_does_not_close_the_client(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(reply(fields=[(b"Connection", b"close")]), then_close=True)
    with router.connect() as client:
        assert client.ask(get()).head.values(b"Connection") == []
        assert client.ask(get()).status == 200


def test_kept_upstream_connection_carries_no_connection_field(router: RouterProcess, upstream: RawUpstream) -> None:
    router.ask(get((b"Connection", b"keep-alive"), (b"Keep-Alive", b"timeout=5")))
    assert upstream.only.head.values(b"Connection") == []
    assert upstream.only.head.values(b"Keep-Alive") == []


def test_pipelined_requests_are_answered_in_order(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers_in_turn(*[answering(reply(b"%d" % number)) for number in range(50)])
    requests = [
        b"POST /%d HTTP/1.1\r\nHost: x.test\r\nContent-Length: 3\r\n\r\nabc" % number
        if number % 2
        else b"GET /%d HTTP/1.1\r\nHost: x.test\r\n\r\n" % number
        for number in range(50)
    ]
    with router.connect() as client:
        client.send(*requests)
        bodies = [client.read_response().body for _ in requests]
    assert bodies == [b"%d" % number for number in range(50)]
    assert [exchange.target for exchange in upstream.exchanges] == [b"/%d" % number for number in range(50)]


def test_pipelined_request_after_a_close_is_not_answered(router: RouterProcess, upstream: RawUpstream) -> None:
    with router.connect() as client:
        client.send(get((b"Connection", b"close")) + get())
        assert client.read_response().status == 200
        client.how_it_ends()
    assert len(upstream.exchanges) == 1


def test_request_split_into_single_bytes_is_the_same_request(router: RouterProcess, upstream: RawUpstream) -> None:
    request = (
        b"\r\nPOST /split?a HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
        b"5;e=1\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    )
    with router.connect() as client:
        for byte in request:
            client.send(bytes([byte]))
        assert client.read_response().status == 200
    exchange = upstream.only
    assert (exchange.target, exchange.body, exchange.trailers) == (b"/split?a", b"hello", ((b"X-T", b"1"),))
    assert exchange.head.value(b"X-A") == b"b"


def test_answer_split_into_single_bytes_is_the_same_answer(router: RouterProcess, upstream: RawUpstream) -> None:
    raw = (
        b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    )

    def dribble(exchange: Exchange) -> None:
        for byte in raw:
            exchange.send(bytes([byte]))

    upstream.handler = dribble
    answer = router.ask(get())
    assert (answer.body, answer.trailers, answer.value(b"X-A")) == (b"hello", ((b"X-T", b"1"),), b"b")
    assert len(answer.interim) == 1


@pytest.mark.parametrize("name", [b"Content-Length", b"Transfer-Encoding", b"Host", b"X-Forwarded-For", b"X_F"])
def test_request_trailer_that_would_change_meaning_does_not_reach_the_upstream(
    router: RouterProcess, upstream: RawUpstream, name: bytes
) -> None:
    """RFC 9110 §6.5.1: fields for framing and routing do not belong in trailers."""
    router.ask(
        b"POST / HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Good: 1\r\n",
        name + b": 7\r\n\r\n",
    )
    trailers = [field for exchange in upstream.exchanges for field in exchange.trailers]
    assert name.lower() not in {field.lower() for field, _ in trailers}


@pytest.mark.parametrize("name", [b"Content-Length", b"Transfer-Encoding", b"Set-Cookie", b"Connection"])
def test_answer_trailer_that_would_change_framing_does_not_reach_the_client(
    router: RouterProcess, upstream: RawUpstream, name: bytes
) -> None:
    upstream.answers(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Good: 1\r\n" + name + b": 7\r\n\r\n"
    )
    allowed = {b"x-good", b"set-cookie"}
    assert {field.lower() for field, _ in router.ask(get()).trailers} <= allowed


def test_range_request_and_partial_answer_pass(router: RouterProcess, upstream: RawUpstream) -> None:
    body = b"--b\r\nContent-Range: bytes 0-0/3\r\n\r\na\r\n--b--\r\n"
    upstream.answers(reply(body, b"206 Partial Content", [(b"Content-Type", b"multipart/byteranges; boundary=b")]))
    answer = router.ask(get((b"Range", b"bytes=0-0,2-2"), (b"If-Range", b'"e"')))
    assert upstream.only.head.value(b"Range") == b"bytes=0-0,2-2"
    assert (answer.status, answer.body) == (206, body)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_connection_stays_in_step_after_an_answer_without_body(
    router: RouterProcess, upstream: RawUpstream, status: bytes
) -> None:
    bare = answering(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")
    upstream.answers_in_turn(bare, answering(reply(b"next")))
    with router.connect() as client:
        first = client.ask(get())
        assert client.ask(get()).body == b"next"
    assert first.head.values(b"Transfer-Encoding") == []


def test_connection_stays_in_step_after_head(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers_in_turn(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"), answering(reply(b"next")))
    with router.connect() as client:
        head = client.ask(b"HEAD / HTTP/1.1\r\nHost: x.test\r\n\r\n")
        assert client.ask(get()).body == b"next"
    assert (head.value(b"Content-Length"), len(upstream.connections)) == (b"100", 1)


class TestBehindOneTrustedProxy:
    """`forwarded_hops=1`: what the proxy in front says is kept and extended."""

    @pytest.fixture
    def trusting(self, farm: RouterFarm) -> Pair:
        """A router that trusts one hop."""
        return farm.get(forwarded_hops=1)

    def test_peer_is_appended_to_forwarded_for(self, trusting: Pair) -> None:
        router, upstream = trusting
        router.ask(get((b"X-Forwarded-For", b"1.2.3.4, 5.6.7.8")))
        assert upstream.only.head.values(b"X-Forwarded-For")[-1].endswith(b"127.0.0.1")
        joined = b", ".join(upstream.only.head.values(b"X-Forwarded-For"))
        assert joined == b"1.2.3.4, 5.6.7.8, 127.0.0.1"

    def test_repeated_forwarded_for_is_extended_in_order(self, trusting: Pair) -> None:
        router, upstream = trusting
        router.ask(get((b"X-Forwarded-For", b"1.2.3.4"), (b"X-A", b"b"), (b"X-Forwarded-For", b"5.6.7.8")))
        joined = b", ".join(upstream.only.head.values(b"X-Forwarded-For"))
        assert joined == b"1.2.3.4, 5.6.7.8, 127.0.0.1"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            (b"X-Forwarded-Proto", b"https"),
            (b"X-Forwarded-Host", b"shop.test"),
            (b"X-Forwarded-Port", b"443"),
            (b"Forwarded", b"for=1.2.3.4;proto=https"),
        ],
    )
    def test_word_of_the_proxy_is_kept(self, trusting: Pair, name: bytes, value: bytes) -> None:
        router, upstream = trusting
        router.ask(get((name, value)))
        assert upstream.only.head.values(name) == [value]

    def test_what_the_proxy_did_not_say_is_set(self, trusting: Pair) -> None:
        router, upstream = trusting
        router.ask(get())
        assert upstream.only.head.value(b"X-Forwarded-For") == b"127.0.0.1"
        assert upstream.only.head.value(b"X-Forwarded-Proto") == b"http"
        assert upstream.only.head.value(b"X-Forwarded-Host") == b"x.test"


class TestFieldsBySetting:
    """`via`, `pass_underscore_fields` and `server_timing` change what is added and dropped."""

    @pytest.fixture
    def talkative(self, farm: RouterFarm) -> Pair:
        """A router with these three set, and TRACE allowed."""
        return farm.get(via="router", pass_underscore_fields=True, server_timing=True, allow_trace=True)

    def test_via_names_the_version_and_the_pseudonym(self, talkative: Pair) -> None:
        router, upstream = talkative
        router.ask(get((b"Via", b"1.0 fred")))
        assert b", ".join(upstream.only.head.values(b"Via")) == b"1.0 fred, 1.1 router"

    def test_via_is_appended_to_the_answer(self, talkative: Pair) -> None:
        router, upstream = talkative
        upstream.answers(reply(fields=[(b"Via", b"1.1 inner")]))
        assert b", ".join(router.ask(get()).head.values(b"Via")) == b"1.1 inner, 1.1 router"

    def test_underscore_names_pass(self, talkative: Pair) -> None:
        router, upstream = talkative
        router.ask(get((b"My_Field", b"1")))
        assert upstream.only.head.value(b"My_Field") == b"1"

    def test_server_timing_names_router_upstream_and_queue(self, talkative: Pair) -> None:
        router, upstream = talkative
        upstream.answers(reply(fields=[(b"Server-Timing", b"db;dur=1")]))
        values = router.ask(get()).head.values(b"Server-Timing")
        assert values[0] == b"db;dur=1"
        for metric in (b"router", b"upstream", b"queue"):
            assert re.search(metric + rb";dur=[0-9.]+", values[-1])

    def test_trace_passes(self, talkative: Pair) -> None:
        router, upstream = talkative
        assert router.ask(b"TRACE / HTTP/1.1\r\nHost: x.test\r\n\r\n").status == 200
        assert upstream.only.method == b"TRACE"


def test_no_via_and_no_server_timing_by_default(router: RouterProcess, upstream: RawUpstream) -> None:
    answer = router.ask(get())
    assert answer.head.values(b"Via") == answer.head.values(b"Server-Timing") == []


def test_two_clients_at_once_get_their_own_answers(router: RouterProcess, upstream: RawUpstream) -> None:
    """Answers follow the request they belong to, also when the later one is answered first."""
    upstream.handler = lambda exchange: exchange.send(reply(exchange.target))
    clients = [RawClient(router.port) for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(b"GET /%d HTTP/1.1\r\nHost: x.test\r\n\r\n" % number)
    for number, client in reversed(list(enumerate(clients))):
        with client:
            assert client.read_response().body == b"/%d" % number
