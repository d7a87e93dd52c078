"""The session as plain Python uses it: it blocks, knows no client, and a double can stand in for its adapter."""

from __future__ import annotations

import threading

import pytest
import requests
import responses
from urllib3 import HTTPHeaderDict

from app.address import Address
from app.errors import UpstreamConnectError, UpstreamConnectTimeout, UpstreamReadTimeout, UpstreamReset
from app.protocol.request import RequestParser
from app.proxy.client_request import InputBody
from app.transport.limits import TimeLimit
from app.upstream.messages import UpstreamRequest, UpstreamResponse
from app.upstream.whole import read_whole
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.transport.loopback import closed_address, full_listener
from tests.upstream.sessions import HOST, blocking_session, plain

LIMIT = TimeLimit(10)


def body_of(answer: UpstreamResponse) -> bytes:
    """The whole body."""
    return read_whole(answer, LIMIT)[2]


# --- over a real socket ---------------------------------------------------------------------------------------


def test_exchange_without_gevent(upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert body_of(blocking_session(upstream.port).send(plain(upstream.port))) == b"abc"
    assert upstream.only.connection.received == b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


def test_each_exchange_has_a_connection_of_its_own(upstream: RawUpstream) -> None:
    session = blocking_session(upstream.port)
    assert [body_of(session.send(plain(upstream.port))) for _ in range(2)] == [b"ok", b"ok"]
    assert len(upstream.connections) == 2


def test_connection_is_closed_when_the_exchange_ends(upstream: RawUpstream) -> None:
    answer = blocking_session(upstream.port).send(plain(upstream.port))
    assert body_of(answer) == b"ok"
    assert answer.stream.connection.endpoint.closed


@pytest.mark.parametrize(
    ("lines", "chunked"), [(b"Content-Length: 5\r\n", False), (b"Transfer-Encoding: chunked\r\n", True)]
)
def test_body_from_a_reader_is_streamed(upstream: RawUpstream, lines: bytes, chunked: bool) -> None:
    parts = iter([b"ab", b"cde", b""])
    raw = b"POST / HTTP/1.1\r\n" + HOST + lines + b"\r\n"
    assert RequestParser(200).parse(raw).chunked is chunked
    body = InputBody(lambda size: next(parts), chunked, 0)
    answer = blocking_session(upstream.port).send(
        UpstreamRequest(Address("127.0.0.1", upstream.port), b"POST", b"/", raw, body)
    )
    assert body_of(answer) == b"ok"
    assert upstream.only.body == b"abcde"


def test_refused_connection() -> None:
    port = closed_address()[1]
    with pytest.raises(UpstreamConnectError, match=f"port {port}.*refused"):
        blocking_session(port).send(plain(port))


def test_unanswered_connection() -> None:
    with full_listener() as (_, port), pytest.raises(UpstreamConnectTimeout):
        blocking_session(port, 0.05).send(plain(port))


def test_connection_closed_without_an_answer(upstream: RawUpstream) -> None:
    upstream.handler = Exchange.close
    with pytest.raises(UpstreamReset):
        blocking_session(upstream.port).send(plain(upstream.port))
    assert len(upstream.exchanges) == 1


def test_no_answer_in_time(upstream: RawUpstream) -> None:
    upstream.handler = lambda exchange: exchange.hold(threading.Event())
    with pytest.raises(UpstreamReadTimeout):
        blocking_session(upstream.port, 0.05).send(plain(upstream.port))


def test_answer_that_stops_is_a_timeout(upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    answer = blocking_session(upstream.port).send(plain(upstream.port))
    with pytest.raises(UpstreamReadTimeout, match=r"stopped for 0\.05 s"):
        read_whole(answer, TimeLimit(0.05))
    assert answer.stream.connection.endpoint.closed


def test_redirects_and_cookies_are_not_the_sessions_affair(upstream: RawUpstream) -> None:
    upstream.answers(reply(b"x", b"302 Found", [(b"Set-Cookie", b"a=1"), (b"Location", b"/elsewhere")]))
    session = blocking_session(upstream.port)
    answers = [read_whole(session.send(plain(upstream.port)), LIMIT) for _ in range(2)]
    assert [status for status, _, _ in answers] == [302, 302]
    assert b"Cookie" not in upstream.exchanges[1].head.raw
    session.close()


def test_session_is_one_of_requests(upstream: RawUpstream) -> None:
    session = blocking_session(upstream.port)
    assert isinstance(session, requests.Session)
    assert not session.trust_env
    assert list(session.adapters) == ["http://"]


# --- with a double --------------------------------------------------------------------------------------------


def test_double_answers_in_the_shape_of_ours(double: responses.RequestsMock) -> None:
    double.get("http://127.0.0.1:5005/a?b=1", body="hello", status=203, headers={"X-A": "1"})
    answer = blocking_session(5005).send(plain(5005, b"/a?b=1"))
    status, fields, body = read_whole(answer, LIMIT)
    assert (status, fields["X-A"], fields["Content-Length"], body) == (203, "1", "5", b"hello")


def test_double_keeps_repeated_fields(double: responses.RequestsMock) -> None:
    double.get("http://127.0.0.1:5005/", headers=HTTPHeaderDict([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]))
    _, fields, _ = read_whole(blocking_session(5005).send(plain(5005)), LIMIT)
    assert fields.getlist("Set-Cookie") == ["a=1", "b=2"]


def test_double_may_look_at_fields_and_body(double: responses.RequestsMock) -> None:
    parts = iter([b"hel", b"lo", b""])
    double.post(
        "http://127.0.0.1:5005/",
        body="seen",
        match=[responses.matchers.header_matcher({"Host": "x.test"})],
    )
    body = InputBody(lambda size: next(parts), False, 0)
    raw = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n"
    answer = blocking_session(5005).send(UpstreamRequest(Address("127.0.0.1", 5005), b"POST", b"/", raw, body))
    assert body_of(answer) == b"seen"
    assert double.calls[0].request.body == b"hello"


def test_double_without_a_body(double: responses.RequestsMock) -> None:
    double.head("http://127.0.0.1:5005/", status=204)
    status, fields, body = read_whole(blocking_session(5005).send(plain(5005, method=b"HEAD")), LIMIT)
    assert (status, body) == (204, b"")
    assert double.calls[0].request.body is None


def test_answer_of_a_double_can_be_given_back_and_thrown_away(double: responses.RequestsMock) -> None:
    double.get("http://127.0.0.1:5005/", body="x")
    kept, thrown_away = (blocking_session(5005).send(plain(5005)) for _ in range(2))
    assert kept.stream.take_buffered() == b"x"
    kept.end()
    thrown_away.discard()
    thrown_away.end()
    assert [answer.stream.connection.endpoint.closed for answer in (kept, thrown_away)] == [True, True]


def test_double_that_fails_as_an_upstream_does(double: responses.RequestsMock) -> None:
    double.get("http://127.0.0.1:5005/", body=UpstreamReset("gone"))
    with pytest.raises(UpstreamReset, match="gone"):
        blocking_session(5005).send(plain(5005))
