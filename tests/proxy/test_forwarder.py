"""One request through the proxy, from the parsed head to the recorded end."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable

import gevent
import pytest
import responses

from tests.proxy.flying import Flying
from tests.support.raw_client import body_framing, split_status_line
from tests.support.raw_upstream import Exchange, RawUpstream, answering, reply
from tests.support.wire import Head, Wire
from tests.transport.loopback import closed_address, reset

GET = b"GET /a?b HTTP/1.1\r\nHost: x.test\r\n\r\n"
OLD_GET = GET.replace(b"1.1", b"1.0")
POST_10 = b"POST /up HTTP/1.1\r\nHost: x.test\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Fly = Callable[..., Flying]


def head_of(wire: Wire) -> Head:
    """The answer's head."""
    head = wire.read_head()
    assert head is not None
    return head


def whole(wire: Wire, method: bytes = b"GET") -> tuple[int, bytes, Head]:
    """Status, body and head of an answer that does not end with its connection."""
    head = head_of(wire)
    status = split_status_line(head.start_line)[1]
    framing = body_framing(head, method, status)
    if framing == "chunked":
        return status, wire.read_chunked().body, head
    assert framing != "close"
    return status, wire.read_exactly(int(head.value(b"Content-Length") or b"0") if framing == "length" else 0), head


# --- what arrives where ---------------------------------------------------------------------------------------


def test_request_and_answer_pass_with_our_fields_last(flying: Flying, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"hello", b"200 Fine", [(b"Date", b"then"), (b"sErVeR", b"s")]))
    request, wire = flying.forward(GET.replace(b"\r\n\r\n", b"\r\naCCEPT:*/*\r\n\r\n"))
    assert request.persist
    status, body, head = whole(wire)
    assert (status, body, head.start_line) == (200, b"hello", b"HTTP/1.1 200 Fine")
    assert head.names() == [b"Date", b"sErVeR", b"Content-Length", b"X-Request-ID"]
    seen = upstream.only
    assert (seen.method, seen.target) == (b"GET", b"/a?b")
    assert seen.head.names() == [
        *(b"Host", b"aCCEPT", b"X-Forwarded-For", b"X-Real-IP", b"X-Forwarded-Proto", b"X-Forwarded-Host"),
        *(b"X-Forwarded-Port", b"X-Request-ID"),
    ]


def test_one_id_ties_client_upstream_and_log_together(flying: Flying, upstream: RawUpstream) -> None:
    ids = [head_of(flying.forward(GET)[1]).value(b"X-Request-ID") for _ in range(2)]
    assert ids[0] != ids[1]
    assert [exchange.head.value(b"X-Request-ID") for exchange in upstream.exchanges] == ids
    assert [line["request_id"].encode() for line in flying.logged()] == ids


def test_id_of_the_client_is_kept(flying: Flying, upstream: RawUpstream) -> None:
    _, wire = flying.forward(GET.replace(b"\r\n\r\n", b"\r\nX-Request-ID: mine-1\r\n\r\n"))
    assert head_of(wire).value(b"X-Request-ID") == b"mine-1"
    assert upstream.only.head.values(b"X-Request-ID") == [b"mine-1"]


def test_id_in_the_answer_of_the_version_is_kept(flying: Flying, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"x", fields=[(b"x-request-id", b"theirs")]))
    assert head_of(flying.forward(GET)[1]).values(b"X-Request-ID") == [b"theirs"]


def test_missing_date_is_added(flying: Flying) -> None:
    date = head_of(flying.forward(GET)[1]).value(b"Date") or b""
    assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)


def test_via_is_added_both_ways_where_it_has_a_name(fly: Fly, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"x", fields=[(b"Via", b"1.0 app")]))
    head = head_of(fly(via="router").forward(GET)[1])
    assert head.values(b"Via") == [b"1.0 app", b"1.1 router"]
    assert upstream.only.head.values(b"Via") == [b"1.1 router"]


def test_server_timing_tells_where_the_time_went(fly: Fly) -> None:
    timing = head_of(fly(server_timing=True).forward(GET)[1]).value(b"Server-Timing") or b""
    assert re.fullmatch(rb"router;dur=[\d.]+, upstream;dur=[\d.]+, queue;dur=[\d.]+", timing)


# --- framing towards the client -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "closes", "request_head", "framing", "body", "persists"),
    [
        pytest.param(reply(b"abc"), False, GET, "length", b"abc", True, id="length"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", False, GET, "chunked", b"abc", True, id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nabc", True, GET, "chunked", b"abc", True, id="until-close"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nabc", True, GET, "chunked", b"abc", True, id="http-1.0-upstream"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", False, OLD_GET, "close", b"abc", False, id="http-1.0-client"),
        pytest.param(reply(b"abc"), False, OLD_GET, "length", b"abc", False, id="http-1.0-client-length"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", False, GET, "none", b"", True, id="204"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\n\r\n", False, GET, "none", b"", True, id="304"),
    ],
)
def test_answer_is_framed_for_its_client(
    flying: Flying,
    upstream: RawUpstream,
    raw: bytes,
    closes: bool,
    request_head: bytes,
    framing: str,
    body: bytes,
    persists: bool,
) -> None:
    upstream.answers(raw, then_close=closes)
    request, wire = flying.forward(request_head)
    head = head_of(wire)
    status = split_status_line(head.start_line)[1]
    assert body_framing(head, b"GET", status) == framing
    assert request.persist is persists
    assert head.value(b"Connection") == (None if persists else b"close")
    if framing == "chunked":
        assert wire.read_chunked().body == body
    else:
        assert wire.read_exactly(len(body)) == body
    assert flying.counted().bytes_out == len(body)


def test_http_1_0_client_keeps_its_connection_when_it_asks_for_it(flying: Flying) -> None:
    request, wire = flying.forward(OLD_GET.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"))
    assert request.persist
    assert head_of(wire).value(b"Connection") == b"keep-alive"


def test_head_has_no_body(flying: Flying, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    _, wire = flying.forward(GET.replace(b"GET", b"HEAD"))
    assert head_of(wire).value(b"Content-Length") == b"5"
    assert wire.pending() == b""


def test_trailers_pass(flying: Flying, upstream: RawUpstream) -> None:
    upstream.answers(CHUNKED + b"1\r\nx\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=1\r\n\r\n")
    _, wire = flying.forward(GET)
    head_of(wire)
    assert wire.read_chunked().trailers == ((b"X-Sum", b"1"),)


def test_demanded_upgrade_is_named_in_connection(flying: Flying, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"", b"426 Upgrade Required", [(b"Upgrade", b"foo"), (b"Connection", b"Upgrade")]))
    head = head_of(flying.forward(GET)[1])
    assert (head.value(b"Upgrade"), head.value(b"Connection")) == (b"foo", b"upgrade")


def test_first_bytes_reach_the_client_before_the_last_are_there(flying: Flying, upstream: RawUpstream) -> None:
    go_on = threading.Event()

    def in_two_parts(exchange: Exchange) -> None:
        exchange.send(CHUNKED, b"3\r\nabc\r\n")
        exchange.hold(go_on)
        exchange.send(b"3\r\ndef\r\n0\r\n\r\n")

    upstream.handler = in_two_parts
    request, wire = flying.request(GET)
    seen: list[bytes] = []

    def read_and_let_go_on() -> None:
        head_of(wire)
        seen.append(wire.read_chunk()[0])
        go_on.set()
        seen.append(wire.read_chunked().body)

    reader = threading.Thread(target=read_and_let_go_on)
    reader.start()
    flying.service.forwarder.forward(request)({}, None)
    reader.join(10)
    assert seen == [b"abc", b"def"]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_large_answer_arrives_whole(flying: Flying, upstream: RawUpstream, framing: str) -> None:
    body = bytes(range(256)) * 8192
    raw = {
        "length": reply(body),
        "chunked": CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        "close": b"HTTP/1.0 200 OK\r\n\r\n" + body,
    }[framing]
    upstream.answers(raw, then_close=framing == "close")
    received: list[bytes] = []
    flying.forward_in_thread(OLD_GET, received)
    assert received[0].partition(b"\r\n\r\n")[2] == body
    assert flying.counted().bytes_out == len(body)
    assert flying.counted().failed == 0


# --- refusals -------------------------------------------------------------------------------------------------


def test_no_active_version(fly: Fly) -> None:
    flying = fly(None)
    request, wire = flying.forward(GET)
    status, body, head = whole(wire)
    assert (status, body, request.persist) == (503, b"No active backend available", True)
    assert (head.value(b"X-Router-Cause"), head.value(b"Retry-After")) == (b"no_active_version", b"5")
    assert flying.counted("router").causes["no_active_version"] == 1
    assert (flying.logged()[0]["version"], flying.logged()[0]["status"]) == ("", 503)


def test_refused_connection(fly: Fly) -> None:
    flying = fly(closed_address()[1], hold_timeout=0)
    status, body, head = whole(flying.forward(GET)[1])
    assert (status, body, head.value(b"X-Router-Cause")) == (502, b"Bad gateway", b"connect_refused")
    counted = flying.counted()
    assert (counted.requests, counted.failed, counted.causes["connect_refused"], counted.in_flight) == (1, 1, 1, 0)


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"read_timeout": 0.05}, b"read_timeout"),
        ({"response_timeout": 0.05, "connection_timeout": 0.05}, b"response_timeout"),
    ],
    ids=["read-timeout", "response-timeout"],
)
def test_no_answer_in_time_is_504(fly: Fly, upstream: RawUpstream, settings: dict[str, float], cause: bytes) -> None:
    upstream.handler = lambda exchange: exchange.hold(threading.Event())
    status, _, head = whole(fly(**settings).forward(GET)[1])
    assert (status, head.value(b"X-Router-Cause")) == (504, cause)


def test_head_is_refused_without_a_body(fly: Fly) -> None:
    _, wire = fly(None).forward(GET.replace(b"GET", b"HEAD"))
    assert head_of(wire).value(b"Content-Length") == b"27"
    assert wire.pending() == b""


def test_refusal_before_the_body_is_read_ends_the_connection(fly: Fly) -> None:
    request, wire = fly(None).forward(POST_10)
    assert not request.persist
    assert head_of(wire).value(b"Connection") == b"close"


def test_chunked_body_beyond_the_limit_is_413(fly: Fly) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n"
    status, _, head = whole(fly(max_body_bytes=5).forward(raw)[1])
    assert (status, head.value(b"X-Router-Cause"), head.value(b"Connection")) == (413, b"body_too_large", b"close")


def test_fault_of_our_own_is_500_and_told_in_the_log(flying: Flying, caplog: pytest.LogCaptureFixture) -> None:
    with responses.RequestsMock(target="app.upstream.adapter.UpstreamAdapter.send") as double:
        double.get(re.compile(".*"), body=ZeroDivisionError("ours"))
        with caplog.at_level(logging.WARNING):
            status, body, head = whole(flying.forward(GET)[1])
    assert (status, body, head.value(b"X-Router-Cause")) == (500, b"Internal router error", b"internal_error")
    assert "ZeroDivisionError" in caplog.text
    assert flying.counted().in_flight == 0


def test_client_that_has_left_gets_no_answer(flying: Flying, upstream: RawUpstream) -> None:
    upstream.handler = lambda exchange: exchange.hold(threading.Event())
    request, wire = flying.request(GET)
    answer = flying.service.forwarder.forward
    gevent.spawn_later(0.02, wire.close)
    answer(request)({}, None)
    assert not request.persist
    line = flying.logged()[0]
    assert (line["status"], line["cause"], line["bytes_out"]) == (499, "client_disconnected", 0)


def test_client_that_leaves_before_its_refusal_is_499(fly: Fly) -> None:
    flying = fly(None)
    request, wire = flying.request(GET)
    reset(wire.sock)
    gevent.sleep(0.01)
    flying.service.forwarder.forward(request)({}, None)
    line = flying.logged()[0]
    assert (line["status"], line["cause"], line["bytes_out"]) == (499, "client_disconnected", 0)
    assert not request.persist


# --- answers that do not end well -----------------------------------------------------------------------------


def test_answer_that_breaks_off_is_never_a_clean_end(flying: Flying, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", then_close=True)
    received: list[bytes] = []
    request = flying.forward_in_thread(GET, received)
    assert received[0].endswith(b"<reset>")
    assert not request.persist
    line = flying.logged()[0]
    assert (line["status"], line["cause"], line["bytes_out"]) == (200, "upstream_truncated", 3)
    assert flying.counted().failed == 1


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"read_timeout": 0.05}, "read_timeout"),
        ({"response_timeout": 0.05, "connection_timeout": 0.05}, "response_timeout"),
    ],
    ids=["read-timeout", "response-timeout"],
)
def test_answer_that_stops_is_broken_off(
    fly: Fly, upstream: RawUpstream, settings: dict[str, float], cause: str
) -> None:
    def begin_and_stop(exchange: Exchange) -> None:
        exchange.send(CHUNKED, b"3\r\nabc\r\n")
        exchange.hold(threading.Event())

    upstream.handler = begin_and_stop
    flying = fly(**settings)
    received: list[bytes] = []
    flying.forward_in_thread(GET, received)
    assert received[0].endswith(b"<reset>")
    assert flying.logged()[0]["cause"] == cause


def test_client_that_leaves_in_mid_answer_ends_the_exchange(flying: Flying, upstream: RawUpstream) -> None:
    def begin_and_wait(exchange: Exchange) -> None:
        exchange.send(CHUNKED, b"3\r\nabc\r\n")
        exchange.wait_for_hang_up()

    upstream.handler = begin_and_wait
    request, wire = flying.request(GET)

    def read_and_leave() -> None:
        head_of(wire)
        wire.read_chunk()
        wire.close()

    leaving = threading.Thread(target=read_and_leave)
    leaving.start()
    flying.service.forwarder.forward(request)({}, None)
    leaving.join(10)
    line = flying.logged()[0]
    assert (line["status"], line["cause"], line["bytes_out"]) == (200, "client_disconnected", 3)
    assert flying.counted().failed == 0


@pytest.mark.parametrize("raw", [reply(bytes(1 << 24)), CHUNKED + b"1000000\r\n" + bytes(1 << 24) + b"\r\n0\r\n\r\n"])
def test_client_that_takes_nothing_is_given_up(fly: Fly, upstream: RawUpstream, raw: bytes) -> None:
    upstream.answers(raw)
    flying = fly(send_timeout=0.1)
    request, wire = flying.request(OLD_GET)
    flying.service.forwarder.forward(request)({}, None)
    line = flying.logged()[0]
    assert (line["status"], line["cause"]) == (200, "client_disconnected")
    with pytest.raises(ConnectionResetError):  # an HTTP/1.0 client would take a mere end for that of the body
        wire.read_to_end()
    received = len(wire.received.partition(b"\r\n\r\n")[2])
    assert received <= line["bytes_out"] < 1 << 24


UNHEARD = b"x" * 70_000
"""More than we take of a client that sends ahead: until it is its turn we do not hear whether it is still there."""


@pytest.mark.parametrize(
    ("request_head", "answer"),
    [
        pytest.param(GET, reply(b"abc"), id="length"),
        pytest.param(GET, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", id="chunked"),
        pytest.param(GET.replace(b"GET", b"HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", id="HEAD"),
        pytest.param(GET, b"HTTP/1.1 304 Not Modified\r\n\r\n", id="304"),
        pytest.param(GET, b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nabc", id="500"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n",
            id="tunnel",
        ),
    ],
)
def test_client_that_is_gone_before_the_head_is_sent_saw_no_status(
    flying: Flying, upstream: RawUpstream, request_head: bytes, answer: bytes
) -> None:
    request, wire = flying.request(request_head + UNHEARD)

    def answer_too_late(exchange: Exchange) -> None:
        reset(wire.sock)
        exchange.send(answer)
        exchange.wait_for_hang_up()

    upstream.handler = answer_too_late
    flying.service.forwarder.forward(request)({}, None)
    line = flying.logged()[0]
    assert (line["status"], line["cause"], line["bytes_out"]) == (499, "client_disconnected", 0)
    counted = flying.counted()
    assert (counted.failed, counted.cut) == (0, 0)


def test_upstream_that_resets_in_a_long_answer_is_truncation(flying: Flying, upstream: RawUpstream) -> None:
    go_on = threading.Event()

    def begin_and_reset(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n" + bytes(1 << 20))
        exchange.hold(go_on)
        exchange.reset()

    upstream.handler = begin_and_reset
    request, wire = flying.request(GET)
    ends: list[str] = []

    def read(wire: Wire) -> None:
        head_of(wire)
        wire.read_exactly(1 << 20)
        go_on.set()
        try:
            wire.read_to_end()
            ends.append("closed")
        except ConnectionResetError:
            ends.append("reset")

    reading = threading.Thread(target=read, args=[wire])
    reading.start()
    flying.service.forwarder.forward(request)({}, None)
    assert request.endpoint is not None
    request.endpoint.close()
    reading.join(10)
    line = flying.logged()[0]
    assert (line["status"], line["cause"], ends) == (200, "upstream_truncated", ["reset"])


def test_answer_before_the_request_is_complete_is_the_connections_last(flying: Flying, upstream: RawUpstream) -> None:
    def answer_first(exchange: Exchange) -> None:
        exchange.send(reply(b"enough", b"413 Content Too Large"))
        exchange.wait_for_hang_up()

    upstream.handler = answer_first
    request, wire = flying.forward(POST_10 + b"012")
    status, body, head = whole(wire)
    assert (status, body, head.value(b"Connection"), request.persist) == (413, b"enough", b"close", False)
    assert flying.counted().bytes_in == 3


def test_event_stream_that_begins_before_the_request_is_complete_counts_as_one(
    flying: Flying, upstream: RawUpstream
) -> None:
    def answer_first(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        exchange.close()

    upstream.handler = answer_first
    flying.forward(POST_10 + b"012")
    assert sum(flying.counted().streams) == 1


# --- tunnels --------------------------------------------------------------------------------------------------

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"


def echo(exchange: Exchange) -> None:
    """Says hello, then repeats what comes until its end."""
    exchange.send(SWITCH, b"hello")
    while data := exchange.wire.read_some():
        exchange.send(data)
    exchange.close()


def test_switched_connection_is_a_tunnel(fly: Fly, upstream: RawUpstream) -> None:
    upstream.handler = echo
    flying = fly(upgrades=("echo",))
    request, wire = flying.request(UPGRADE)
    seen: list[bytes] = []

    def converse() -> None:
        head = head_of(wire)
        assert head.value(b"Connection") == b"Upgrade"
        seen.append(wire.read_exactly(5))
        wire.send(b"ping")
        seen.append(wire.read_exactly(4))
        wire.finish_writing()
        seen.append(wire.read_to_end())

    talking = threading.Thread(target=converse)
    talking.start()
    flying.service.forwarder.forward(request)({}, None)
    talking.join(10)
    assert seen == [b"hello", b"ping", b""]
    sent = upstream.only.head
    assert (sent.value(b"Connection"), sent.value(b"Upgrade")) == (b"Upgrade", b"echo")
    line = flying.logged()[0]
    assert (line["status"], line["bytes_in"], line["bytes_out"]) == (101, 4, 9)
    assert not request.persist


def test_silent_tunnel_is_closed(fly: Fly, upstream: RawUpstream) -> None:
    upstream.handler = echo
    flying = fly(tunnel_idle_timeout=1, upgrades=("echo",))
    request, _ = flying.request(UPGRADE)
    flying.service.forwarder.forward(request)({}, None)
    assert flying.logged()[0]["status"] == 101


def test_declined_upgrade_is_an_ordinary_answer(fly: Fly, upstream: RawUpstream) -> None:
    flying = fly(upgrades=("echo",))
    upstream.handler = answering(reply(b"no"))
    request, wire = flying.forward(UPGRADE)
    assert whole(wire)[:2] == (200, b"no")
    assert request.persist


def test_long_answer_that_breaks_off_is_counted_as_far_as_it_went(flying: Flying, upstream: RawUpstream) -> None:
    sent = bytes(1 << 20)
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n" + sent, then_close=True)
    received: list[bytes] = []
    flying.forward_in_thread(GET, received)
    assert received[0].endswith(b"<reset>")
    line = flying.logged()[0]
    assert (line["status"], line["cause"], line["bytes_out"]) == (200, "upstream_truncated", len(sent))


def test_client_that_leaves_a_long_answer_keeps_its_status(flying: Flying, upstream: RawUpstream) -> None:
    def send_and_be_left(exchange: Exchange) -> None:
        exchange.send(reply(bytes(1 << 24)))

    upstream.handler = send_and_be_left
    request, wire = flying.request(GET)

    def read_and_leave() -> None:
        head_of(wire)
        wire.read_exactly(1 << 20)
        wire.reset()

    leaving = threading.Thread(target=read_and_leave)
    leaving.start()
    flying.service.forwarder.forward(request)({}, None)
    leaving.join(10)
    line = flying.logged()[0]
    assert (line["status"], line["cause"]) == (200, "client_disconnected")
    assert line["bytes_out"] >= 1 << 20
