"""A request's body on its way up: streamed, framed anew, and handled when the answer comes first."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from app.errors import (
    BodyTooLarge,
    ClientDisconnected,
    MalformedRequest,
    RequestTimeout,
    RouterError,
    UpstreamReadTimeout,
)
from tests.support.raw_upstream import Exchange, RawUpstream, answering, reply
from tests.support.waiting import wait_until
from tests.transport.loopback import reset
from tests.upstream.sessions import Client, Version, client

LARGE = bytes(range(256)) * 16384
"""4 MiB."""

LENGTH_10 = b"Content-Length: 10\r\n"
LENGTH_LARGE = b"Content-Length: %d\r\n" % len(LARGE)
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture
def asking() -> Iterator[Client]:
    with client() as connected:
        yield connected


def post(version: Version, asking: Client, lines: bytes, **limits: Any) -> gevent.Greenlet:
    """Sends a POST in a greenlet of its own; its value is the answer."""
    return gevent.spawn(version.send, asking.request(version.port, lines, method=b"POST", **limits))


def arrived(upstream: RawUpstream, mark: bytes) -> None:
    """Lets the hub run until these bytes are at the upstream."""
    wait_until(
        lambda: gevent.sleep(0.001) or (upstream.connections and mark in upstream.connections[0].received),
        f"{mark!r} at the upstream",
    )


def test_body_that_came_with_the_head_is_sent_with_it(upstream: RawUpstream, version: Version, asking: Client) -> None:
    asking.endpoint.buffered = b"0123456789GET /next"
    answer = post(version, asking, LENGTH_10).get(timeout=10)
    version.read(answer)
    assert upstream.only.body == b"0123456789"
    assert asking.endpoint.buffered == b"GET /next"
    assert answer.upload is None


def test_body_is_passed_on_as_it_arrives(upstream: RawUpstream, version: Version, asking: Client) -> None:
    sending = post(version, asking, LENGTH_10)
    arrived(upstream, b"\r\n\r\n")
    asking.peer.sendall(b"01234")
    arrived(upstream, b"01234")
    asking.peer.sendall(b"56789")
    assert version.read(sending.get(timeout=10)) == b"ok"
    assert upstream.only.body == b"0123456789"


def test_chunked_body_is_framed_anew(upstream: RawUpstream, version: Version, asking: Client) -> None:
    sending = post(version, asking, CHUNKED)
    asking.peer.sendall(b"003;ext=1\r\nabc\r\n")
    arrived(upstream, b"3\r\nabc\r\n")
    asking.peer.sendall(b"2\r\nde\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\nGET /next")
    assert version.read(sending.get(timeout=10)) == b"ok"
    only = upstream.only
    assert (only.body, only.trailers) == (b"abcde", ((b"X-Sum", b"1"),))
    assert only.chunked is not None
    assert set(only.chunked.extensions) == {b""}
    assert asking.endpoint.buffered == b"GET /next"


@pytest.mark.parametrize("lines", [LENGTH_LARGE, CHUNKED], ids=["length", "chunked"])
def test_large_body_waits_for_an_upstream_that_reads_slowly(
    upstream: RawUpstream, version: Version, asking: Client, lines: bytes
) -> None:
    go_on = threading.Event()

    def read_when_told(exchange: Exchange) -> None:
        exchange.hold(go_on)
        exchange.read_body()
        exchange.send(reply(b"done"))

    upstream.handler = read_when_told
    body = LARGE if lines != CHUNKED else b"%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE)
    sender = threading.Thread(target=asking.peer.sendall, args=[body])
    sender.start()
    sending = post(version, asking, lines)
    arrived(upstream, b"\r\n\r\n")
    go_on.set()
    assert version.read(sending.get(timeout=10)) == b"done"
    sender.join(10)
    assert upstream.only.body == LARGE


def test_answer_before_the_body_leaves_the_rest_to_be_moved(
    upstream: RawUpstream, version: Version, asking: Client
) -> None:
    read = threading.Event()

    def answer_first(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        exchange.read_body()
        read.set()
        exchange.send(b"done")

    upstream.handler = answer_first
    answer = post(version, asking, LENGTH_10).get(timeout=10)
    assert answer.upload is not None
    uploading = gevent.spawn(answer.upload.run)
    asking.peer.sendall(b"0123456789")
    assert version.read(answer) == b"done"
    uploading.join(10)
    assert read.is_set()
    assert answer.stream.connection.endpoint.closed, "half an exchange is no reason to trust a connection"


def test_upstream_that_answers_and_closes_has_answered(upstream: RawUpstream, version: Version, asking: Client) -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.send(reply(b"too long", b"413 Content Too Large", [(b"Connection", b"close")]))
        exchange.wire.finish_writing()
        exchange.read_body_until(1)

    upstream.handler = refuse
    sender = threading.Thread(target=_send_what_is_taken, args=[asking])
    sender.start()
    answer = post(version, asking, LENGTH_LARGE).get(timeout=10)
    assert (answer.status_code, version.read(answer)) == (413, b"too long")
    asking.endpoint.close()
    sender.join(10)


def _send_what_is_taken(asking: Client) -> None:
    try:
        asking.peer.sendall(LARGE)
    except OSError:
        pass  # nobody has to read what an answer came before


@pytest.mark.parametrize(
    ("data", "lines", "limits", "error"),
    [
        pytest.param(b"zz\r\n", CHUNKED, {}, MalformedRequest, id="bad-chunk"),
        pytest.param(b"0\r\nA : 1\r\n\r\n", CHUNKED, {}, MalformedRequest, id="bad-trailer"),
        pytest.param(b"6\r\nabcdef\r\n", CHUNKED, {"max_body_bytes": 5}, BodyTooLarge, id="too-large"),
    ],
)
@pytest.mark.parametrize("early", [True, False], ids=["with-the-head", "later"])
def test_body_that_is_refused_ends_the_exchange(
    upstream: RawUpstream,
    version: Version,
    asking: Client,
    data: bytes,
    lines: bytes,
    limits: dict[str, Any],
    error: type[RouterError],
    early: bool,
) -> None:
    if early:
        asking.endpoint.buffered = data
    sending = post(version, asking, lines, **limits)
    if not early:
        arrived(upstream, b"\r\n\r\n")
        asking.peer.sendall(data)
    with pytest.raises(error):
        sending.get(timeout=10)


@pytest.mark.parametrize("lines", [LENGTH_10, LENGTH_LARGE], ids=["read", "unread"])
@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "closed"])
def test_client_that_leaves_in_mid_body_ends_the_exchange(
    upstream: RawUpstream, version: Version, asking: Client, leave: Callable[[socket.socket], None], lines: bytes
) -> None:
    sending = post(version, asking, lines)
    arrived(upstream, b"\r\n\r\n")
    asking.peer.sendall(b"01234")
    arrived(upstream, b"01234")
    leave(asking.peer)
    with pytest.raises(ClientDisconnected):
        sending.get(timeout=10)
    wait_until(upstream.connections[0].ended.is_set, "the upstream to be left as well")
    assert not upstream.only.is_complete


def test_client_that_stops_in_mid_body_is_given_up(upstream: RawUpstream, asking: Client) -> None:
    with pytest.raises(RequestTimeout, match=r"0\.05 s"):
        post(Version(upstream.port, receiving_s=0.05), asking, LENGTH_10).get(timeout=10)


def test_upstream_that_takes_no_body_is_given_up(upstream: RawUpstream, asking: Client) -> None:
    upstream.handler = lambda exchange: exchange.hold(threading.Event())
    sender = threading.Thread(target=_send_what_is_taken, args=[asking])
    sender.start()
    with pytest.raises(UpstreamReadTimeout):
        post(Version(upstream.port, reading_s=0.1), asking, LENGTH_LARGE).get(timeout=10)
    asking.endpoint.close()
    sender.join(10)


def test_body_that_was_sent_whole_may_be_sent_again(upstream: RawUpstream, version: Version, asking: Client) -> None:
    upstream.answers_in_turn(answering(reply(b"1")), Exchange.close, answering(reply(b"3")))
    assert version.ask() == b"1"
    asking.endpoint.buffered = b"0123456789"
    answer = version.send(asking.request(upstream.port, LENGTH_10, method=b"PUT"))
    assert version.read(answer) == b"3"
    assert [exchange.method for exchange in upstream.exchanges] == [b"GET", b"PUT", b"PUT"]
    assert upstream.exchanges[2].body == b"0123456789"


@pytest.mark.parametrize(
    ("data", "lines", "limits", "error"),
    [
        pytest.param(b"zz\r\n", CHUNKED, {}, MalformedRequest, id="bad-chunk"),
        pytest.param(b"", LENGTH_10, {"receiving_s": 0.05}, RequestTimeout, id="client-stops"),
    ],
)
def test_body_that_fails_after_the_answer_began_ends_the_answer(
    upstream: RawUpstream, asking: Client, data: bytes, lines: bytes, limits: dict[str, Any], error: type[RouterError]
) -> None:
    version = Version(upstream.port, **limits)
    never = threading.Event()

    def answer_first(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        exchange.hold(never)

    upstream.handler = answer_first
    answer = post(version, asking, lines).get(timeout=10)
    assert answer.upload is not None
    gevent.spawn(answer.upload.run)
    asking.peer.sendall(data)
    with pytest.raises(error):
        version.read(answer)
