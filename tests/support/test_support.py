"""The stand-ins judged against each other: the raw client speaks straight to the raw upstream."""

from __future__ import annotations

import threading

import pytest

from tests.support.raw_client import RawClient, ask
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.waiting import wait_until
from tests.support.wire import Broken, Truncated, parse_head

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def test_upstream_records_the_exact_bytes(upstream: RawUpstream) -> None:
    request = b"PuT //a?%zz HTTP/1.1\r\nhOsT: x\r\nContent-Length: 3\r\n\r\nabc"
    ask(upstream.port, request)
    assert upstream.only.connection.received == request
    assert (upstream.only.method, upstream.only.target, upstream.only.body) == (b"PuT", b"//a?%zz", b"abc")


def test_one_connection_carries_several_requests(upstream: RawUpstream) -> None:
    upstream.answers(reply(b"hello", fields=[(b"X-A", b"1")]))
    with RawClient(upstream.port) as client:
        answers = [client.ask(GET), client.ask(GET)]
    assert [answer.body for answer in answers] == [b"hello", b"hello"]
    assert len(upstream.connections) == 1
    assert answers[0].value(b"x-a") == b"1"


def test_chunked_messages_and_trailers_are_read_both_ways(upstream: RawUpstream) -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=1\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
    upstream.answers(b"HTTP/1.1 200 OK\r\n" + chunked)
    answer = ask(upstream.port, b"POST / HTTP/1.1\r\nHost: x\r\n" + chunked)
    assert (answer.body, answer.trailers, answer.framing) == (b"abcde", ((b"X-T", b"1"),), "chunked")
    assert (upstream.only.body, upstream.only.trailers) == (b"abcde", ((b"X-T", b"1"),))


def test_interim_answers_are_kept_apart(upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"x"))
    answer = ask(upstream.port, GET)
    assert answer.status == 200
    assert [head.start_line for head in answer.interim] == [b"HTTP/1.1 103 Early Hints"]


def test_short_body_is_reported_as_truncated(upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", then_close=True)
    with pytest.raises(Truncated):
        ask(upstream.port, GET)


def test_reset_is_seen_as_reset(upstream: RawUpstream) -> None:
    upstream.handler = Exchange.reset
    with RawClient(upstream.port) as client:
        client.send(GET)
        assert client.how_it_ends() == "reset"


def test_close_is_seen_as_closed(upstream: RawUpstream) -> None:
    upstream.handler = Exchange.close
    with RawClient(upstream.port) as client:
        client.send(GET)
        assert client.how_it_ends() == "closed"


def test_handler_holds_until_the_test_says_so(upstream: RawUpstream) -> None:
    event = threading.Event()

    def handle(exchange: Exchange) -> None:
        exchange.hold(event)
        exchange.send(reply(b"late"))

    upstream.handler = handle
    with RawClient(upstream.port) as client:
        client.send(GET)
        upstream.next_exchange()
        assert not client.has_bytes()
        event.set()
        assert client.read_response().body == b"late"


def test_reset_ends_connections_and_records(upstream: RawUpstream) -> None:
    with RawClient(upstream.port) as client:
        client.ask(GET)
        upstream.reset()
        assert client.how_it_ends() == "closed"
    assert (upstream.connections, upstream.exchanges) == ([], [])


def test_ambiguous_request_is_recorded_as_a_fault() -> None:
    with RawUpstream() as upstream:
        with RawClient(upstream.port) as client:
            client.send(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc")
            assert client.how_it_ends() in {"closed", "reset"}
        assert "ambiguous framing" in wait_until(lambda: upstream.faults, "fault")[0]


def test_probes_are_answered_and_not_recorded(upstream: RawUpstream) -> None:
    assert ask(upstream.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
    assert (upstream.probes, upstream.exchanges, upstream.connections) == (1, [], [])


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"GET / HTTP/1.1\r\nA : b\r\n\r\n", id="space-before-colon"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", id="folded-line"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", id="bare-lf"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\x00\r\n\r\n", id="nul"),
        pytest.param(b"GET / HTTP/1.1\r\nA\r\n\r\n", id="no-colon"),
    ],
)
def test_heads_out_of_canon_are_broken(raw: bytes) -> None:
    with pytest.raises(Broken):
        parse_head(raw)
