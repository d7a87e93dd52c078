"""gunicorn's own gevent worker keeps working for plain traffic, without what only our worker can do."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_farm import Pair, running_pair
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

HOST = b"Host: x.test\r\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A router on `-k gevent` and its upstream."""
    folder = tmp_path_factory.mktemp("stock")
    with running_pair(folder, arguments=("-k", "gevent"), health_check_interval=0.2) as stock:
        yield stock


def test_get_passes(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(reply(b"hello", b"201 Created", [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]))
    answer = router.ask(b"GET /a?b=c HTTP/1.1\r\n" + HOST + b"X-A: 1\r\n\r\n")
    assert (answer.status, answer.body) == (201, b"hello")
    assert answer.head.values(b"Set-Cookie") == [b"a=1", b"b=2"]
    assert upstream.only.target == b"/a?b=c"
    assert upstream.only.head.value(b"X-A") == b"1"


def test_forwarding_fields_are_set(router: RouterProcess, upstream: RawUpstream) -> None:
    router.ask(b"GET / HTTP/1.1\r\n" + HOST + b"X-Forwarded-For: 6.6.6.6\r\n\r\n")
    head = upstream.only.head
    assert head.value(b"Host") == b"x.test"
    assert head.value(b"X-Forwarded-For") == b"127.0.0.1"
    assert head.value(b"X-Forwarded-Proto") == b"http"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"Content-Length: 11\r\n\r\nhello world", id="length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", id="chunked"),
    ],
)
def test_post_passes_its_body(router: RouterProcess, upstream: RawUpstream, body: bytes) -> None:
    assert router.ask(b"POST / HTTP/1.1\r\n" + HOST + body).status == 200
    assert upstream.only.body == b"hello world"


def test_answer_streams(router: RouterProcess, upstream: RawUpstream) -> None:
    event = threading.Event()

    def handle(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        exchange.hold(event)
        exchange.send(b"1\r\nb\r\n0\r\n\r\n")

    upstream.handler = handle
    with router.connect() as client:
        client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        client.read_head()
        assert client.wire.read_chunk()[0] == b"a"
        event.set()
        assert client.wire.read_chunk()[0] == b"b"


def test_head_and_no_content_stay_in_step(router: RouterProcess, upstream: RawUpstream) -> None:
    with router.connect() as client:
        upstream.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        assert client.ask(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n").status == 200
        upstream.hang_up()
        upstream.answers(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert client.ask(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n").status == 204


def test_errors_are_the_documented_ones(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = lambda exchange: exchange.close()
    answer = router.ask(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (answer.status, answer.body) == (502, b"Bad gateway")


def test_own_endpoints_answer(router: RouterProcess, upstream: RawUpstream) -> None:
    health = b"GET /__router_health HTTP/1.1\r\n" + HOST + b"\r\n"
    wait_until(lambda: router.ask(health).status == 200, "healthy")
    assert "total_requests" in router.metrics()
