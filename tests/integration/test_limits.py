"""Sizes and times are bounded, each bound has its status, and slow clients cost others nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess, free_port
from tests.support.waiting import wait_until
from tests.support.wire import Truncated

HOST = b"Host: x.test\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"

ROUTER_SETTINGS = {
    "max_body_bytes": 1000,
    "max_request_line_bytes": 512,
    "max_head_bytes": 2048,
    "max_fields": 20,
    "head_timeout": 1,
    "keepalive_timeout": 1,
}


@pytest.fixture(scope="module", autouse=True)
def stalled_upload(farm: RouterFarm) -> Iterator[tuple[RouterProcess, RawClient]]:
    """A client whose body stopped coming when the module began; its grace of 10 s runs beside the tests."""
    router, upstream = farm.get(body_rate_floor=200)
    upstream.handler = wait_long_until_left
    with RawClient(router.port, deadline_s=25) as client:
        client.send(b"POST /stalled HTTP/1.1\r\n" + HOST + b"Content-Length: 5000\r\n\r\nabc")
        yield router, client


def post(length: int, fields: bytes = b"") -> bytes:
    """The head of a POST with that Content-Length."""
    return b"POST /a HTTP/1.1\r\n" + HOST + fields + b"Content-Length: %d\r\n\r\n" % length


class TestSizes:
    """Request line, fields and body."""

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            pytest.param(b"GET /" + b"a" * 480 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 200, id="line-below"),
            pytest.param(b"GET /" + b"a" * 520 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, id="line-above"),
            pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 1950 + b"\r\n\r\n", 200, id="head-below"),
            pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 2060 + b"\r\n\r\n", 431, id="head-above"),
            pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 19 + b"\r\n", 200, id="fields-at-limit"),
            pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 20 + b"\r\n", 431, id="fields-above"),
        ],
    )
    def test_head(self, router: RouterProcess, upstream: RawUpstream, request_bytes: bytes, status: int) -> None:
        with router.connect() as client:
            answer = client.ask(request_bytes)
            assert answer.status == status
            if status != 200:
                assert answer.value(b"Connection") == b"close"
        assert len(upstream.exchanges) == (1 if status == 200 else 0)

    def test_endless_request_line_is_refused_before_it_ends(self, router: RouterProcess, upstream: RawUpstream) -> None:
        assert router.ask(b"GET /" + b"a" * 5000).status == 414

    def test_endless_field_is_refused_before_it_ends(self, router: RouterProcess, upstream: RawUpstream) -> None:
        assert router.ask(b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 5000).status == 431

    def test_body_at_the_limit_passes(self, router: RouterProcess, upstream: RawUpstream) -> None:
        assert router.ask(post(1000), bytes(1000)).status == 200

    def test_announced_body_above_the_limit_is_refused_before_the_upstream_is_asked(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        with router.connect() as client:
            client.send(post(1001))
            answer = client.read_response()
            assert (answer.status, answer.value(b"X-Router-Cause")) == (413, b"body_too_large")
            assert answer.value(b"Connection") == b"close"
        assert upstream.connections == []

    def test_refusal_of_an_announced_body_comes_instead_of_continue(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        answer = router.ask(post(1001, b"Expect: 100-continue\r\n"))
        assert (answer.status, answer.interim) == (413, ())

    def test_chunked_body_is_refused_when_it_grows_above_the_limit(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        with router.connect() as client:
            client.send(b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
            exchange = upstream.next_exchange()
            client.send(b"258\r\n" + bytes(600) + b"\r\n258\r\n" + bytes(600) + b"\r\n")
            assert client.read_response().status == 413
        assert exchange.connection.ended.wait(5)
        assert not exchange.is_complete

    def test_chunked_body_at_the_limit_passes(self, router: RouterProcess, upstream: RawUpstream) -> None:
        chunk = b"1f4\r\n" + bytes(500) + b"\r\n"
        head = b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        assert router.ask(head + chunk + chunk + b"0\r\n\r\n").status == 200


class TestClientTimes:
    """How long a client may take."""

    def test_unfinished_head_is_answered_408(self, router: RouterProcess, upstream: RawUpstream) -> None:
        with router.connect() as client:
            client.send(b"GET /a HTTP/1.1\r\nHost: x")
            answer = client.read_response()
            assert (answer.status, answer.value(b"X-Router-Cause")) == (408, b"client_too_slow")
            assert answer.value(b"Connection") == b"close"
            assert client.how_it_ends() == "closed"

    def test_head_that_drips_is_answered_408_all_the_same(self, router: RouterProcess, upstream: RawUpstream) -> None:
        begin = time.monotonic()
        with router.connect() as client:
            for byte in b"GET /a HTTP/1.1\r\nX-Slow: " + b"a" * 40:
                client.send(bytes([byte]))
                if client.has_bytes(0.1):
                    break
            assert client.read_response().status == 408
        assert time.monotonic() - begin < 3

    def test_silent_new_connection_is_closed_without_a_word(self, router: RouterProcess, upstream: RawUpstream) -> None:
        with router.connect() as client:
            assert client.how_it_ends() == "closed"

    def test_idle_kept_connection_is_closed_without_a_word(self, router: RouterProcess, upstream: RawUpstream) -> None:
        with router.connect() as client:
            client.ask(GET)
            begin = time.monotonic()
            assert client.how_it_ends() == "closed"
        assert 0.5 < time.monotonic() - begin < 4

    def test_waiting_for_a_slow_answer_is_not_idle(self, router: RouterProcess, upstream: RawUpstream) -> None:
        def handle(exchange: Exchange) -> None:
            threading.Event().wait(2.5)
            exchange.send(reply(b"slow"))

        upstream.handler = handle
        assert router.ask(GET).body == b"slow"

    def test_stalled_body_is_answered_408(self, stalled_upload: tuple[RouterProcess, RawClient]) -> None:
        router, client = stalled_upload
        answer = client.read_response()
        assert (answer.status, answer.value(b"X-Router-Cause")) == (408, b"client_too_slow")
        entry = router.logged(lambda entry: entry["path"] == "/stalled")
        assert entry["status"] == 408

    @pytest.mark.alone
    def test_many_unfinished_heads_do_not_delay_others(self, farm: RouterFarm) -> None:
        router, _ = farm.get()
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(router.connect()).send(b"GET /slow HTTP/1.1\r\nHost: x")
            begin = time.monotonic()
            assert router.ask(GET).status == 200
            assert time.monotonic() - begin < 1

    def test_without_keep_alive_each_answer_closes(self, farm: RouterFarm) -> None:
        router, _ = farm.get(keepalive_timeout=0)
        with router.connect() as client:
            assert client.ask(GET).value(b"Connection") == b"close"
            assert client.how_it_ends() == "closed"

    def test_client_that_takes_nothing_is_given_up(self, farm: RouterFarm) -> None:
        router, upstream = farm.get(send_timeout=0.5)

        def flood(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            while True:
                exchange.send(bytes(1 << 20))

        upstream.handler = flood
        with RawClient(router.port, rcvbuf=65536) as client:
            client.send(GET)
            client.read_head()
            assert upstream.only.connection.ended.wait(8)

    def test_connections_beyond_the_workers_limit_are_told_so(self, farm: RouterFarm) -> None:
        router, _ = farm.get(max_connections=5)
        with contextlib.ExitStack() as stack:
            holders = [stack.enter_context(router.connect()) for _ in range(5)]
            for holder in holders:
                assert holder.ask(GET).status == 200
            assert router.ask(GET).status == 503
            holders[0].wire.close()
            wait_until(lambda: router.ask(GET).status == 200, "room for one more")


class TestClientConnections:
    """`max_client_connections` counts per client address."""

    @pytest.fixture
    def capped(self, farm: RouterFarm) -> RouterProcess:
        """A router with room for three connections of one client."""
        return farm.get(max_client_connections=3)[0]

    def test_one_connection_too_many_is_answered_429(self, capped: RouterProcess) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                client = stack.enter_context(capped.connect(source="127.0.0.2"))
                assert client.ask(GET).status == 200
            fourth = stack.enter_context(capped.connect(source="127.0.0.2"))
            answer = fourth.ask(GET)
            assert (answer.status, answer.value(b"Retry-After")) == (429, b"1")
            assert answer.value(b"X-Router-Cause") == b"too_many_connections"
            other = stack.enter_context(capped.connect(source="127.0.0.3"))
            assert other.ask(GET).status == 200

    def test_closed_connections_make_room(self, capped: RouterProcess) -> None:
        for _ in range(10):
            with capped.connect(source="127.0.0.4") as client:
                assert client.ask(GET[:-2] + b"Connection: close\r\n\r\n").status == 200
                client.how_it_ends()


class TestUpstreamTimes:
    """How long the upstream may take; each deadline has its own cause code."""

    SETTINGS = {"read_timeout": 0.6, "response_timeout": 2.5, "connection_timeout": 0.5, "hold_timeout": 0}

    @pytest.fixture
    def hurried(self, farm: RouterFarm) -> Pair:
        """A router with short deadlines."""
        return farm.get(**self.SETTINGS)

    def test_no_answer_is_504_read_timeout(self, hurried: Pair) -> None:
        router, upstream = hurried
        upstream.handler = wait_until_left
        answer = router.ask(GET)
        assert (answer.status, answer.body) == (504, b"Gateway timeout")
        assert answer.value(b"X-Router-Cause") == b"read_timeout"
        assert upstream.only.connection.ended.wait(2)

    def test_half_a_head_is_504_read_timeout(self, hurried: Pair) -> None:
        router, upstream = hurried

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-")
            exchange.wait_for_hang_up()

        upstream.handler = handle
        answer = router.ask(GET)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (504, b"read_timeout")

    def test_client_connection_survives_a_504(self, hurried: Pair) -> None:
        router, upstream = hurried
        upstream.handler = wait_until_left
        with router.connect() as client:
            assert client.ask(GET).status == 504
            upstream.answers(reply(b"back"))
            assert client.ask(GET).body == b"back"

    def test_body_that_stalls_aborts_the_client(self, hurried: Pair) -> None:
        router, upstream = hurried

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            exchange.wait_for_hang_up()

        upstream.handler = handle
        assert_broken_off(router, b"/stalls")
        assert router.logged(lambda entry: entry["path"] == "/stalls")["cause"] == "read_timeout"

    def test_steady_slow_body_is_not_a_read_timeout(self, hurried: Pair) -> None:
        router, upstream = hurried

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            drip(exchange, b"abcde")

        upstream.handler = handle
        assert router.ask(GET).body == b"abcde"

    def test_head_that_drips_is_504_response_timeout(self, hurried: Pair) -> None:
        router, upstream = hurried

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\n")
            drip(exchange, b"X-Slow: " + b"a" * 50)

        upstream.handler = handle
        answer = router.ask(GET)
        assert (answer.status, answer.body) == (504, b"Gateway timeout")
        assert answer.value(b"X-Router-Cause") == b"response_timeout"

    def test_body_that_drips_beyond_the_deadline_is_broken_off(self, hurried: Pair) -> None:
        router, upstream = hurried

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
            drip(exchange, b"a" * 50)

        upstream.handler = handle
        assert_broken_off(router, b"/drips")
        assert router.logged(lambda entry: entry["path"] == "/drips")["cause"] == "response_timeout"

    def test_upstream_that_waits_for_a_slow_body_is_not_blamed(self, hurried: Pair) -> None:
        """`read_timeout` is the upstream's; while the client still sends, nobody waits for the upstream."""
        router, _ = hurried
        with router.connect() as client:
            client.send(post(3) + b"a")
            assert not client.has_bytes(1.2), "answered while the body was still to come"
            client.send(b"bc")
            assert client.read_response().status == 200

    def test_upstream_that_takes_no_bytes_of_a_large_body_is_504(self, hurried: Pair) -> None:
        router, upstream = hurried
        event = threading.Event()
        upstream.handler = lambda exchange: exchange.hold(event)
        with router.connect() as client:
            client.send(post(1 << 30))
            client.wire.sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                while True:
                    client.wire.sock.send(bytes(1 << 20))
            client.wire.sock.settimeout(10)
            answer = client.read_response()
        assert (answer.status, answer.value(b"X-Router-Cause")) == (504, b"read_timeout")
        entry = router.logged(lambda entry: entry["status"] == 504 and entry["bytes_in"] != 0)
        assert entry["cause"] == "read_timeout"

    def test_refused_connection_is_502_connect_refused(self, hurried: Pair) -> None:
        router, upstream = hurried
        with pointed_at(router, upstream, free_port()):
            answer = router.ask(GET)
        assert (answer.status, answer.body) == (502, b"Bad gateway")
        assert answer.value(b"X-Router-Cause") == b"connect_refused"

    def test_full_backlog_is_502_connect_timeout(self, hurried: Pair) -> None:
        router, upstream = hurried
        with full_listener() as port, pointed_at(router, upstream, port):
            answer = router.ask(GET)
        assert (answer.status, answer.body) == (502, b"Bad gateway")
        assert answer.value(b"X-Router-Cause") == b"connect_timeout"


def wait_until_left(exchange: Exchange) -> None:
    """A handler that never answers."""
    exchange.wait_for_hang_up()


def wait_long_until_left(exchange: Exchange) -> None:
    """The same for longer than the grace of 10 s."""
    exchange.wire.sock.settimeout(30)
    exchange.wait_for_hang_up()


def drip(exchange: Exchange, data: bytes) -> None:
    """Send a byte every fifth of a second, until the router leaves."""
    for byte in data:
        exchange.send(bytes([byte]))
        if exchange.connection.ended.wait(0.2):
            return


def assert_broken_off(router: RouterProcess, target: bytes) -> None:
    """A GET of the target must end in a way that its client can tell from a complete answer."""
    with router.connect() as client:
        client.send(GET.replace(b"/a", target))
        with pytest.raises((Truncated, ConnectionResetError)):
            client.read_response()


@contextlib.contextmanager
def pointed_at(router: RouterProcess, upstream: RawUpstream, port: int) -> Iterator[None]:
    """Make another port the active version's for a while."""
    router.set_state("blue", blue=port)
    try:
        yield
    finally:
        router.set_state("blue", blue=upstream.port)


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """A port whose accept queue is full, so that the kernel drops further connection attempts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield address[1]
