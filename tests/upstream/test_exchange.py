"""One exchange with a version: the head out as it is, 1xx apart, the body as it arrives, every way to fail."""

from __future__ import annotations

import threading

import gevent
import pytest

from app.errors import (
    ClientDisconnected,
    UpstreamConnectError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamReadTimeout,
    UpstreamReset,
    UpstreamTruncated,
)
from app.transport.limits import Expired
from tests.support.raw_upstream import Exchange, RawUpstream, answering, reply
from tests.support.waiting import wait_until
from tests.transport.loopback import closed_address, reset
from tests.upstream.sessions import HOST, Version, client, plain

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def arrives(upstream: RawUpstream, number: int = 1) -> Exchange:
    """Waits for a request at the upstream while the hub runs."""
    wait_until(lambda: gevent.sleep(0.001) or len(upstream.exchanges) >= number, "the request at the upstream")
    return upstream.exchanges[number - 1]


# --- the message ----------------------------------------------------------------------------------------------


def test_head_goes_out_as_it_is(upstream: RawUpstream, version: Version) -> None:
    version.read(version.send(plain(upstream.port, b"/a/../b?%7e", b"pUt", b"hOsT:x\r\nX:\xff\r\n")))
    assert upstream.only.connection.received == b"pUt /a/../b?%7e HTTP/1.1\r\nhOsT:x\r\nX:\xff\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "closes", "body"),
    [
        pytest.param(reply(b"hello"), False, b"hello", id="length"),
        pytest.param(reply(b""), False, b"", id="length-zero"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", False, b"abcde", id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", True, b"until the end", id="until-close"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nold", True, b"old", id="http-1.0"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", False, b"", id="204"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", False, b"", id="304"),
    ],
)
def test_body_is_read_to_its_end(
    upstream: RawUpstream, version: Version, raw: bytes, closes: bool, body: bytes
) -> None:
    upstream.answers(raw, then_close=closes)
    assert version.ask() == body


def test_answer_to_head_has_no_body(upstream: RawUpstream, version: Version) -> None:
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert version.ask(method=b"HEAD") == b""
    assert version.ask(method=b"HEAD") == b""
    assert len(upstream.connections) == 1


def test_body_is_there_as_it_arrives(upstream: RawUpstream, version: Version) -> None:
    go_on = threading.Event()

    def in_two_parts(exchange: Exchange) -> None:
        exchange.send(CHUNKED, b"3\r\nabc\r\n")
        exchange.hold(go_on)
        exchange.send(b"3\r\ndef\r\n0\r\nX-Sum: 6\r\nHost: evil\r\n\r\n")

    upstream.handler = in_two_parts
    answer = version.send(plain(upstream.port))
    assert answer.stream.receive(version.reading) == b"abc"
    go_on.set()
    assert version.read(answer) == b"def"
    assert answer.stream.trailers == b"X-Sum: 6\r\n"


def test_large_body_comes_in_parts(upstream: RawUpstream, version: Version) -> None:
    body = bytes(range(256)) * 8192
    upstream.answers(reply(body))
    answer = version.send(plain(upstream.port))
    parts = []
    while not answer.stream.complete:
        parts.append(answer.stream.receive(version.reading))
    answer.end()
    assert b"".join(parts) == body
    assert max(map(len, parts)) < len(body) / 2


def test_answer_looks_like_one_of_requests(upstream: RawUpstream, version: Version) -> None:
    upstream.answers(reply(b"x", b"418 Tea \xe9", [(b"X-A", b"1"), (b"X-A", b"2")]))
    answer = version.send(plain(upstream.port))
    assert (answer.status_code, answer.reason, answer.headers["x-a"]) == (418, "Tea \xe9", "2")
    answer.end()


def test_request_looks_like_one_of_requests(upstream: RawUpstream) -> None:
    request = plain(upstream.port, b"/a?b", b"PURGE", b"Host: x\r\nAccept:  y \r\n")
    assert (request.method, request.url) == ("PURGE", f"http://127.0.0.1:{upstream.port}/a?b")
    assert (request.headers["host"], request.headers["ACCEPT"], request.body) == ("x", "y", None)


# --- 1xx ------------------------------------------------------------------------------------------------------


def test_informational_answers_go_to_the_client_at_once(upstream: RawUpstream, version: Version) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    upstream.answers(early + b"HTTP/1.1 102 Processing\r\n\r\n" + reply(b"x"))
    with client() as asking:
        answer = version.send(asking.request(upstream.port))
        assert asking.peer.recv(1000) == early + b"HTTP/1.1 102 Processing\r\n\r\n"
        assert (answer.status_code, version.read(answer)) == (200, b"x")


def test_informational_answers_without_a_client_are_left_out(upstream: RawUpstream, version: Version) -> None:
    upstream.answers(b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply(b"x"))
    assert [version.ask(), version.ask()] == [b"x", b"x"]


def test_switch_that_was_asked_for_is_an_answer(upstream: RawUpstream, version: Version) -> None:
    upstream.answers(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst words")
    with client() as asking:
        answer = version.send(asking.request(upstream.port, upgrades=b"echo"))
        assert answer.status_code == 101
        assert answer.stream.connection.endpoint.buffered == b"first words"
        answer.end()
    assert answer.stream.connection.endpoint.closed, "what carried a tunnel is never used again"


def test_switch_that_was_not_asked_for_is_a_bad_answer(upstream: RawUpstream, version: Version) -> None:
    upstream.answers(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n")
    with pytest.raises(UpstreamProtocolError, match="101"):
        version.ask()


# --- failing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"SSH-2.0-OpenSSH",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
    ids=["no-status-line", "another-protocol", "space-before-colon", "two-lengths", "endless-head", "long-head"],
)
def test_answer_that_is_no_http_is_bad(upstream: RawUpstream, version: Version, raw: bytes) -> None:
    upstream.answers(raw)
    with pytest.raises(UpstreamProtocolError):
        version.ask()


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"], ids=["nothing", "half-a-head"])
def test_connection_closed_before_the_head_is_complete(upstream: RawUpstream, version: Version, raw: bytes) -> None:
    upstream.answers(raw, then_close=True)
    with pytest.raises(UpstreamReset):
        version.ask()


def test_connection_reset_before_the_answer(upstream: RawUpstream, version: Version) -> None:
    upstream.handler = Exchange.reset
    with pytest.raises(UpstreamReset):
        version.ask()


def test_no_answer_in_time(upstream: RawUpstream) -> None:
    upstream.handler = lambda exchange: exchange.hold(threading.Event())
    with pytest.raises(UpstreamReadTimeout, match=r"within 0\.05 s"):
        Version(upstream.port, reading_s=0.05).ask()


def test_refused_connection() -> None:
    with pytest.raises(UpstreamConnectError):
        Version(closed_address()[1]).ask()


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", UpstreamTruncated, id="short-length"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n", UpstreamTruncated, id="no-last-chunk"),
        pytest.param(CHUNKED + b"3\r\nabcX\r\n0\r\n\r\n", UpstreamProtocolError, id="long-chunk"),
        pytest.param(CHUNKED + b"nonsense\r\n", UpstreamProtocolError, id="bad-size"),
        pytest.param(CHUNKED + b"0\r\nA : 1\r\n\r\n", UpstreamProtocolError, id="bad-trailer"),
    ],
)
def test_body_that_breaks_off_is_never_complete(
    upstream: RawUpstream, version: Version, raw: bytes, fault: type[UpstreamError]
) -> None:
    upstream.answers(raw, then_close=True)
    answer = version.send(plain(upstream.port))
    with pytest.raises(fault):
        version.read(answer)
    assert answer.stream.connection.endpoint.closed


def test_reset_in_mid_body_is_a_truncation(upstream: RawUpstream, version: Version) -> None:
    go_on = threading.Event()

    def begin_and_reset(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        exchange.hold(go_on)
        exchange.reset()

    upstream.handler = begin_and_reset
    answer = version.send(plain(upstream.port))
    go_on.set()
    with pytest.raises(UpstreamTruncated):
        version.read(answer)


def test_silence_in_mid_body_expires(upstream: RawUpstream) -> None:
    version = Version(upstream.port, reading_s=0.05)
    upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    answer = version.send(plain(upstream.port))
    with pytest.raises(Expired):
        version.read(answer)


# --- the client while it waits --------------------------------------------------------------------------------


def test_client_that_leaves_ends_the_exchange(upstream: RawUpstream, version: Version) -> None:
    upstream.handler = lambda exchange: exchange.hold(threading.Event())
    with client() as asking:
        sending = gevent.spawn(version.send, asking.request(upstream.port))
        arrives(upstream)
        asking.peer.close()
        with pytest.raises(ClientDisconnected, match="closed"):
            sending.get(timeout=10)


def test_client_that_resets_ends_the_exchange(upstream: RawUpstream, version: Version) -> None:
    upstream.handler = lambda exchange: exchange.hold(threading.Event())
    with client() as asking:
        sending = gevent.spawn(version.send, asking.request(upstream.port))
        arrives(upstream)
        reset(asking.peer)
        with pytest.raises(ClientDisconnected, match="broke"):
            sending.get(timeout=10)


def test_next_request_of_the_client_is_kept_for_later(upstream: RawUpstream, version: Version) -> None:
    go_on = threading.Event()

    upstream.answers(reply(b"x"), after=go_on)
    with client() as asking:
        sending = gevent.spawn(version.send, asking.request(upstream.port))
        arrives(upstream)
        asking.peer.sendall(b"GET /next")
        wait_until(lambda: gevent.sleep(0.001) or asking.endpoint.buffered, "the next request")
        go_on.set()
        assert version.read(sending.get(timeout=10)) == b"x"
        assert asking.endpoint.buffered == b"GET /next"


def test_client_that_pipelines_without_end_is_not_read_without_end(upstream: RawUpstream, version: Version) -> None:
    go_on = threading.Event()

    upstream.answers(reply(b"x"), after=go_on)
    with client() as asking:
        sending = gevent.spawn(version.send, asking.request(upstream.port))
        arrives(upstream)
        flood = threading.Thread(target=asking.peer.sendall, args=[bytes(1 << 18)])
        flood.start()
        wait_until(lambda: gevent.sleep(0.001) or len(asking.endpoint.buffered) > 65536, "the flood")
        go_on.set()
        assert version.read(sending.get(timeout=10)) == b"x"
        assert len(asking.endpoint.buffered) <= 3 * 65536
        asking.endpoint.close()
        flood.join(10)


# --- using a connection again ---------------------------------------------------------------------------------


def test_connection_is_used_again_when_nothing_is_left_on_it(upstream: RawUpstream, version: Version) -> None:
    assert [version.ask(b"/1"), version.ask(b"/2")] == [b"ok", b"ok"]
    assert len(upstream.connections) == 1


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", id="asked-to-close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", id="http-1.0"),
        pytest.param(reply(b"ok") + b"more than announced", id="bytes-left-over"),
        pytest.param(reply(b"ok") + reply(b"evil"), id="second-answer"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\n\r\nmore", id="bytes-after-chunks"),
    ],
)
def test_connection_that_may_hold_something_is_not_used_again(
    upstream: RawUpstream, version: Version, raw: bytes
) -> None:
    upstream.answers(raw)
    assert [version.ask(b"/1"), version.ask(b"/2")] == [b"ok", b"ok"]
    assert len(upstream.connections) == 2


def test_connection_is_not_used_again_after_half_an_answer(upstream: RawUpstream, version: Version) -> None:
    upstream.answers(reply(bytes(1 << 20)))
    answer = version.send(plain(upstream.port))
    answer.end()
    answer.end()
    answer.discard()
    assert answer.stream.connection.endpoint.closed
    upstream.answers(reply(b"ok"))
    assert version.ask() == b"ok"


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"PROPFIND"])
def test_idempotent_request_is_sent_again_when_the_connection_was_closed(
    upstream: RawUpstream, version: Version, method: bytes
) -> None:
    upstream.answers_in_turn(answering(reply(b"1")), Exchange.close, answering(reply(b"3")))
    assert [version.ask(), version.ask(method=method)] == [b"1", b"3"]
    assert [exchange.method for exchange in upstream.exchanges] == [b"GET", method, method]


def test_request_that_was_read_is_not_sent_again_unless_idempotent(upstream: RawUpstream, version: Version) -> None:
    upstream.answers_in_turn(answering(reply(b"1")), Exchange.close, answering(reply(b"3")))
    assert version.ask() == b"1"
    with pytest.raises(UpstreamReset):
        version.ask(method=b"POST")
    assert len(upstream.exchanges) == 2


def test_request_is_not_sent_again_once_an_answer_has_begun(upstream: RawUpstream, version: Version) -> None:
    upstream.answers_in_turn(answering(reply(b"1")), answering(b"HTTP/1.1 200", then_close=True))
    assert version.ask() == b"1"
    with pytest.raises(UpstreamReset):
        version.ask()
    assert len(upstream.exchanges) == 2


def test_failure_on_a_new_connection_is_final(upstream: RawUpstream, version: Version) -> None:
    upstream.handler = Exchange.close
    with pytest.raises(UpstreamReset):
        version.ask()
    assert len(upstream.exchanges) == 1


def test_post_finds_out_that_its_connection_was_closed_before_it_is_written(
    upstream: RawUpstream, version: Version
) -> None:
    assert version.ask() == b"ok"
    upstream.hang_up()  # nobody has run the hub since, so the pool cannot have noticed
    assert version.ask(method=b"POST") == b"ok"
    assert [exchange.method for exchange in upstream.exchanges] == [b"GET", b"POST"]


def exchange_with_body(version: Version, size: int, method: bytes = b"POST") -> None:
    """A request with so large a body, and its answer to the end."""
    with client() as asking:
        asking.peer.sendall(bytes(size))
        version.read(version.send(asking.request(version.port, b"Content-Length: %d\r\n" % size, method=method)))


@pytest.mark.parametrize(
    ("size", "status", "is_trusted"),
    [
        pytest.param(4, b"200 OK", True, id="small"),
        pytest.param(4, b"413 Content Too Large", False, id="refused"),
        pytest.param(9_000, b"200 OK", False, id="large"),
    ],
)
@pytest.mark.parametrize("method", [b"POST", b"PUT"])
def test_request_with_a_body_takes_no_connection_on_which_another_may_be_unread(
    upstream: RawUpstream, version: Version, size: int, status: bytes, is_trusted: bool, method: bytes
) -> None:
    upstream.answers(reply(status=status))
    exchange_with_body(version, size)
    exchange_with_body(version, 1, method)
    assert len(upstream.connections) == 2 - is_trusted


def test_connection_is_trusted_again_when_what_can_be_repeated_was_answered(
    upstream: RawUpstream, version: Version
) -> None:
    exchange_with_body(version, 9_000)
    assert version.ask() == b"ok"
    assert version.ask(method=b"POST") == b"ok"
    assert len(upstream.connections) == 1


def test_another_idle_connection_is_preferred_to_a_new_one(upstream: RawUpstream, version: Version) -> None:
    answers = [version.send(plain(version.port)) for _ in range(2)]
    for answer in answers:
        version.read(answer)
    exchange_with_body(version, 9_000)
    assert version.ask(method=b"POST") == b"ok"
    assert len(upstream.connections) == 2


def test_session_takes_nothing_from_the_environment_and_keeps_no_cookies(
    upstream: RawUpstream, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    upstream.answers(reply(b"x", b"302 Found", [(b"Set-Cookie", b"a=1"), (b"Location", b"/elsewhere")]))
    assert [version.ask(), version.ask()] == [b"x", b"x"]
    assert [exchange.head.fields for exchange in upstream.exchanges] == [((b"Host", b"x.test"),)] * 2
    assert HOST in upstream.exchanges[0].head.raw
    version.session.close()
