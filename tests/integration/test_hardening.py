"""Nothing ambiguous passes: what the corpus of refused messages does not cover."""

from __future__ import annotations

import pytest

from tests.support.raw_upstream import RawUpstream, answering, reply
from tests.support.router_process import RouterProcess
from tests.support.wire import Broken

HOST = b"Host: x.test\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
BAD = b"POST /bad HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"


def test_what_follows_a_refused_request_is_not_read_as_one(router: RouterProcess, upstream: RawUpstream) -> None:
    with router.connect() as client:
        client.send(BAD + GET)
        assert client.read_response().status == 400
        client.how_it_ends()
    router.ask(GET.replace(b"/a", b"/sentinel"))
    assert [exchange.target for exchange in upstream.exchanges] == [b"/sentinel"]


def test_refusal_is_not_lost_by_a_client_that_sends_on(router: RouterProcess, upstream: RawUpstream) -> None:
    """Closing a socket with unread bytes resets it, and the reset would overtake the answer."""
    with router.connect() as client:
        client.send(BAD, bytes(1 << 20))
        assert client.read_response().status == 400


def test_refusal_carries_no_word_of_the_request(router: RouterProcess, upstream: RawUpstream) -> None:
    answer = router.ask(b"GET /<script> HTTP/1.1\r\nHost: a b\r\nAccept: text/html\r\nX-Request-ID: <b>\r\n\r\n")
    assert answer.status == 400
    assert b"<script>" not in answer.body
    assert b"<b>" not in answer.head.raw


def test_refusal_names_a_request_id(router: RouterProcess, upstream: RawUpstream) -> None:
    assert router.ask(BAD).value(b"X-Request-ID")


def test_refusal_is_logged(router: RouterProcess, upstream: RawUpstream) -> None:
    made = router.ask(BAD).value(b"X-Request-ID")
    assert made is not None
    entry = router.logged(lambda entry: entry["request_id"] == made.decode())
    assert (entry["status"], entry["cause"]) == (400, "malformed_request")


def test_worker_survives_every_refusal(router: RouterProcess, upstream: RawUpstream) -> None:
    before = router.worker_pids
    for _ in range(50):
        assert router.ask(BAD).status == 400
    assert router.worker_pids == before


@pytest.mark.parametrize("name", [b"X-A", b"Content-Length"])
def test_white_space_before_the_colon_of_an_answer_never_reaches_the_client(
    router: RouterProcess, upstream: RawUpstream, name: bytes
) -> None:
    """RFC 9112 §5.1 lets a proxy remove it; throwing the answer away is as safe."""
    upstream.answers(b"HTTP/1.1 200 OK\r\n" + name + b" : 2\r\nConnection: close\r\n\r\nok", then_close=True)
    answer = router.ask(GET)
    assert b" :" not in answer.head.raw
    assert answer.status in (200, 502)


def test_repeated_equal_lengths_of_an_answer_reach_the_client_as_one_or_not_at_all(
    router: RouterProcess, upstream: RawUpstream
) -> None:
    """RFC 9112 §6.3 allows either; two of them must not go on."""
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok")
    answer = router.ask(GET)
    assert len(answer.head.values(b"Content-Length")) == 1
    assert answer.status in (200, 502)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_body_after_a_bodiless_answer_is_thrown_away_with_its_connection(
    router: RouterProcess, upstream: RawUpstream, status: bytes
) -> None:
    poisoned = b"HTTP/1.1 " + status + b"\r\n\r\n" + reply(b"poison")
    upstream.answers_in_turn(answering(poisoned), answering(reply(b"clean")))
    assert router.ask(GET).body == b""
    assert router.ask(GET).body == b"clean"
    assert len(upstream.connections) == 2


def test_length_of_a_204_does_not_reach_the_client(router: RouterProcess, upstream: RawUpstream) -> None:
    """RFC 9110 §8.6: a 204 has no Content-Length; a client that believed it would wait for a body."""
    upstream.answers(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n")
    answer = router.ask(GET)
    assert (answer.status, answer.head.values(b"Content-Length")) == (204, [])


def test_bad_answer_is_not_shown_to_the_client(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\nX-Secret: s\r\n\r\nok")
    answer = router.ask(GET)
    assert answer.head.values(b"X-Secret") == []
    assert answer.body == b"Bad gateway"


def test_client_connection_survives_a_bad_answer(router: RouterProcess, upstream: RawUpstream) -> None:
    bad = answering(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
    upstream.answers_in_turn(bad, answering(reply(b"good")))
    with router.connect() as client:
        assert client.ask(GET).status == 502
        assert client.ask(GET).body == b"good"


def test_own_answers_are_canonical_for_every_refusal(router: RouterProcess, upstream: RawUpstream) -> None:
    for request in (
        BAD,
        b"\x00\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    ):
        try:
            answer = router.ask(request)
        except Broken as error:
            pytest.fail(f"{request!r}: {error}")
        assert answer.value(b"Content-Length") == b"%d" % len(answer.body)


def test_head_request_that_fails_gets_no_body(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(b"", then_close=True)
    with router.connect() as client:
        answer = client.ask(b"HEAD / HTTP/1.1\r\nHost: x.test\r\n\r\n")
        assert (answer.status, answer.framing) == (502, "none")
        upstream.answers(reply())
        assert client.ask(GET).body == b"ok"
