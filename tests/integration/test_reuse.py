"""Upstream connections are reused when that is safe, never otherwise, and no request is sent twice."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, answering, reply
from tests.support.router_farm import Pair, RouterFarm, running_pair
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

HOST = b"Host: x.test\r\n"

ROUTER_SETTINGS = {"hold_timeout": 0}
"""What the pool does by itself is the subject here; test_hold.py has what the router tries after that."""


def ask_for(method: bytes, target: bytes = b"/r") -> bytes:
    """A request without body; POST says so with a length of zero."""
    length = b"Content-Length: 0\r\n" if method == b"POST" else b""
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + length + b"\r\n"


GET = ask_for(b"GET")
POST_WITH_BODY = b"POST /r HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nonce"


def close_unanswered(exchange: Exchange) -> None:
    """Take the request and close: the application may or may not have acted on it."""
    exchange.read_body()
    exchange.close()


def reset_unanswered(exchange: Exchange) -> None:
    """Take the request and reset."""
    exchange.read_body()
    exchange.reset()


class TestReuse:
    """When a connection goes back to the pool."""

    def test_clean_exchanges_share_a_connection(self, router: RouterProcess, upstream: RawUpstream) -> None:
        for _ in range(5):
            assert router.ask(GET).status == 200
        assert len(upstream.connections) == 1

    @pytest.mark.parametrize(
        "raw",
        [
            pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="no-content"),
            pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", id="chunked"),
            pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n", id="trailers"),
            pytest.param(b"HTTP/1.1 103 Hint\r\nA: b\r\n\r\n" + reply(), id="after-interim"),
            pytest.param(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", id="http-1.0"),
        ],
    )
    def test_cleanly_framed_answer_is_followed_on_the_same_connection(
        self, router: RouterProcess, upstream: RawUpstream, raw: bytes
    ) -> None:
        upstream.answers(raw)
        for _ in range(2):
            router.ask(GET)
        assert len(upstream.connections) == 1

    @pytest.mark.parametrize(
        "raw",
        [
            pytest.param(reply(fields=[(b"Connection", b"close")]), id="connection-close"),
            pytest.param(reply(fields=[(b"Connection", b"X-A, Close")]), id="close-in-a-list"),
            pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", id="http-1.0"),
            pytest.param(reply() + b"x", id="byte-after-the-answer"),
            pytest.param(reply() + b"\r\n", id="empty-line-after-the-answer"),
            pytest.param(reply() + reply(b"poison"), id="second-answer"),
        ],
    )
    def test_connection_is_not_reused_after(self, router: RouterProcess, upstream: RawUpstream, raw: bytes) -> None:
        upstream.answers_in_turn(answering(raw), answering(reply(b"clean")))
        assert router.ask(GET).body == b"ok"
        assert router.ask(GET).body == b"clean"
        assert len(upstream.connections) == 2

    def test_bytes_that_come_while_idle_are_never_the_next_answer(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        upstream.answers_in_turn(answering(reply(b"first")), answering(reply(b"clean")))
        assert router.ask(GET).body == b"first"
        upstream.connections[0].wire.send(reply(b"poison"))
        assert router.ask(GET).body == b"clean"
        assert len(upstream.connections) == 2

    def test_late_answer_to_a_client_that_left_is_never_the_next_answer(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        event = threading.Event()

        def late(exchange: Exchange) -> None:
            exchange.hold(event)
            with contextlib.suppress(ConnectionError):
                exchange.send(reply(b"poison"))

        upstream.answers_in_turn(late, answering(reply(b"clean")))
        with router.connect() as client:
            client.send(GET)
            upstream.next_exchange()
        event.set()
        assert router.ask(GET).body == b"clean"

    def test_head_answered_with_a_body_does_not_shift_the_next_answer(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        upstream.answers_in_turn(answering(reply(b"poison")), answering(reply(b"clean")))
        router.ask(ask_for(b"HEAD"))
        assert router.ask(GET).body == b"clean"

    def test_clients_at_the_same_time_have_connections_of_their_own(
        self, router: RouterProcess, upstream: RawUpstream
    ) -> None:
        event = threading.Event()

        def handle(exchange: Exchange) -> None:
            exchange.hold(event)
            exchange.send(reply(exchange.target))

        upstream.handler = handle
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(router.connect()) for _ in range(5)]
            for number, client in enumerate(clients):
                client.send(ask_for(b"GET", b"/%d" % number))
            wait_until(lambda: len(upstream.exchanges) == 5, "all five at the upstream")
            event.set()
            assert [client.read_response().body for client in clients] == [b"/%d" % n for n in range(5)]
        assert len(upstream.connections) == 5


class TestStaleConnections:
    """A pooled connection that the upstream has closed is noticed before anything is written on it."""

    @pytest.mark.parametrize("request_bytes", [GET, ask_for(b"POST"), POST_WITH_BODY], ids=["get", "post", "body"])
    def test_closed_idle_connection_costs_no_request(
        self, router: RouterProcess, upstream: RawUpstream, request_bytes: bytes
    ) -> None:
        for _ in range(5):
            assert router.ask(request_bytes).status == 200
            upstream.hang_up()
        assert len(upstream.exchanges) == 5

    def test_many_closed_idle_connections_cost_no_request(self, router: RouterProcess, upstream: RawUpstream) -> None:
        fill_pool(router, upstream, 10)
        upstream.hang_up()
        assert router.ask(POST_WITH_BODY).status == 200

    @pytest.mark.parametrize("request_bytes", [GET, ask_for(b"POST"), POST_WITH_BODY], ids=["get", "post", "body"])
    def test_connection_that_closes_while_the_request_comes_in_costs_no_request(
        self, router: RouterProcess, upstream: RawUpstream, request_bytes: bytes
    ) -> None:
        """Both wait in the same round of the worker's event loop, the request before the upstream's FIN."""
        (worker,) = router.worker_pids
        with router.connect() as client:
            assert client.ask(GET).status == 200
            os.kill(worker, signal.SIGSTOP)
            try:
                client.send(request_bytes)
                upstream.hang_up()
            finally:
                os.kill(worker, signal.SIGCONT)
            assert client.read_response().status == 200
        assert len(upstream.exchanges) == 2

    def test_post_does_not_cross_with_the_closing_of_an_idle_connection(self, farm: RouterFarm) -> None:
        """A new connection takes it when the one at hand is as old as one that the version has closed."""
        router, upstream = farm.get(**ROUTER_SETTINGS, keepalive_timeout=74)
        assert router.ask(GET).status == 200
        time.sleep(0.5)
        upstream.hang_up()
        for waits_s, connections in ((0, 2), (0, 2), (0.5, 3)):
            time.sleep(waits_s)
            assert router.ask(POST_WITH_BODY).status == 200
            assert len(upstream.connections) == connections

    @pytest.mark.parametrize("ending", [close_unanswered, reset_unanswered], ids=["closed", "reset"])
    @pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT"])
    def test_idempotent_request_on_a_reused_connection_is_tried_once_more(
        self, router: RouterProcess, upstream: RawUpstream, method: bytes, ending: object
    ) -> None:
        router.ask(GET)
        handlers = [close_unanswered if ending is close_unanswered else reset_unanswered, answering(reply())]
        upstream.answers_in_turn(*handlers)
        assert router.ask(ask_for(method, b"/again")).status == 200
        assert [exchange.target for exchange in upstream.exchanges] == [b"/r", b"/again", b"/again"]
        assert len(upstream.connections) == 2

    @pytest.mark.parametrize("ending", [close_unanswered, reset_unanswered], ids=["closed", "reset"])
    @pytest.mark.parametrize(
        "request_bytes",
        [
            pytest.param(ask_for(b"POST"), id="post"),
            pytest.param(POST_WITH_BODY, id="post-with-body"),
            pytest.param(ask_for(b"PATCH"), id="patch"),
            pytest.param(ask_for(b"PURGE"), id="unknown-method"),
            pytest.param(ask_for(b"get"), id="lower-case-get"),
        ],
    )
    def test_request_that_may_have_acted_is_never_sent_twice(
        self, router: RouterProcess, upstream: RawUpstream, request_bytes: bytes, ending: object
    ) -> None:
        router.ask(GET)
        upstream.handler = close_unanswered if ending is close_unanswered else reset_unanswered
        answer = router.ask(request_bytes)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"upstream_reset")
        assert len(upstream.exchanges) == 2

    def test_retried_request_carries_the_same_request_id(self, router: RouterProcess, upstream: RawUpstream) -> None:
        router.ask(GET)
        upstream.answers_in_turn(close_unanswered, answering(reply()))
        answer = router.ask(GET)
        ids = {exchange.head.value(b"X-Request-ID") for exchange in upstream.exchanges[1:]}
        assert ids == {answer.value(b"X-Request-ID")}

    @pytest.mark.parametrize("method", [b"GET", b"POST"])
    def test_fresh_connection_that_fails_is_not_tried_again(
        self, router: RouterProcess, upstream: RawUpstream, method: bytes
    ) -> None:
        upstream.handler = close_unanswered
        answer = router.ask(ask_for(method))
        assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"upstream_reset")
        assert len(upstream.exchanges) == 1

    @pytest.mark.parametrize("first", [b"H", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 103 Hint\r\nA: b\r\n\r\n"])
    def test_request_with_part_of_an_answer_is_not_tried_again(
        self, router: RouterProcess, upstream: RawUpstream, first: bytes
    ) -> None:
        router.ask(GET)
        upstream.answers(first, then_close=True)
        assert router.ask(GET).status == 502
        assert len(upstream.exchanges) == 2

    def test_retry_happens_only_once(self, router: RouterProcess, upstream: RawUpstream) -> None:
        fill_pool(router, upstream, 4)
        seen = len(upstream.exchanges)
        upstream.handler = close_unanswered
        assert router.ask(GET).status == 502
        assert len(upstream.exchanges) - seen <= 2


def refused(exchange: Exchange) -> None:
    """Answer without reading, say nothing of closing, and close a moment later, as gunicorn's threads do."""
    exchange.send(reply(status=b"405 Method Not Allowed"))
    time.sleep(0.02)
    exchange.close()


class TestUnreadBodies:
    """A version that has not read a body closes the connection because of it, whatever its answer says."""

    @pytest.mark.parametrize("size", [10, 200_000])
    def test_no_request_is_lost_after_a_refused_upload(
        self, router: RouterProcess, upstream: RawUpstream, size: int
    ) -> None:
        for _ in range(5):
            upstream.answers_in_turn(refused, answering(reply()))
            with router.connect() as one, router.connect() as two:
                upload = b"POST /up HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size
                assert one.ask(upload + bytes(size)).status == 405
                assert two.ask(POST_WITH_BODY).status == 200


def fill_pool(router: RouterProcess, upstream: RawUpstream, count: int) -> None:
    """Leave `count` idle connections in the router's pool by as many requests at once."""
    event = threading.Event()

    def handle(exchange: Exchange) -> None:
        exchange.hold(event)
        exchange.send(reply())

    upstream.handler = handle
    with contextlib.ExitStack() as stack:
        clients: list[RawClient] = [stack.enter_context(router.connect()) for _ in range(count)]
        for client in clients:
            client.send(GET)
        wait_until(lambda: len(upstream.exchanges) == count, "all at the upstream")
        event.set()
        for client in clients:
            assert client.read_response().status == 200
    upstream.answers(reply())


class TestPool:
    """The pool is bounded and drops what idles."""

    @pytest.fixture
    def narrow(self, farm: RouterFarm) -> Pair:
        """A router with two upstream connections, half a second to wait for one, and a short idle time."""
        return farm.get(pool_size=2, connection_timeout=0.5, pool_idle_timeout=1, hold_timeout=0)

    @pytest.fixture
    def busy(self, narrow: Pair) -> Iterator[tuple[Pair, threading.Event]]:
        """The narrow router with both connections in use until the event is set."""
        router, upstream = narrow
        event = threading.Event()

        def handle(exchange: Exchange) -> None:
            exchange.hold(event)
            exchange.send(reply())

        upstream.handler = handle
        with router.connect() as one, router.connect() as two:
            one.send(GET)
            two.send(GET)
            wait_until(lambda: len(upstream.exchanges) == 2, "both at the upstream")
            yield narrow, event

    def test_request_beyond_the_pool_is_answered_503(self, busy: tuple[Pair, threading.Event]) -> None:
        (router, upstream), _ = busy
        answer = router.ask(GET)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (503, b"pool_exhausted")
        assert answer.value(b"Retry-After") == b"1"
        assert len(upstream.connections) == 2

    def test_request_beyond_the_pool_is_served_when_a_connection_comes_free(
        self, busy: tuple[Pair, threading.Event]
    ) -> None:
        (router, upstream), event = busy
        with router.connect() as third:
            third.send(GET)
            event.set()
            assert third.read_response().status == 200
        assert sum(not connection.ended.is_set() for connection in upstream.connections) <= 2

    def test_idle_connection_is_dropped(self, narrow: Pair) -> None:
        router, upstream = narrow
        assert router.ask(GET).status == 200
        assert upstream.connections[0].ended.wait(5)
        assert router.ask(GET).status == 200
        assert len(upstream.connections) == 2

    def test_broken_connections_leave_room(self, narrow: Pair) -> None:
        router, upstream = narrow
        upstream.handler = close_unanswered
        for _ in range(6):
            assert router.ask(GET).value(b"X-Router-Cause") == b"upstream_reset"
        upstream.answers(reply(b"room"))
        assert router.ask(GET).body == b"room"

    def test_clients_that_leave_make_room(self, narrow: Pair) -> None:
        router, upstream = narrow
        upstream.handler = wait_until_left
        for number in range(1, 5):
            with router.connect() as client:
                client.send(GET)
                exchange = upstream.next_exchange(number)
            assert exchange.connection.ended.wait(5)
        upstream.answers(reply(b"room"))
        assert router.ask(GET).body == b"room"

    def test_without_idle_time_no_connection_is_reused(self, farm: RouterFarm) -> None:
        router, upstream = farm.get(pool_idle_timeout=0)
        for _ in range(3):
            assert router.ask(GET).status == 200
        assert len(upstream.connections) == 3


def wait_until_left(exchange: Exchange) -> None:
    """A handler that never answers."""
    exchange.wait_for_hang_up()


def test_no_descriptor_and_no_claim_is_left_behind(farm: RouterFarm) -> None:
    """After exchanges that ended in every way, the worker holds what it held before and nothing is in flight."""
    router, upstream = farm.get(read_timeout=0.3, tunnel_idle_timeout=1, upgrades="x")
    worker = psutil.Process(router.worker_pids[0])
    upgrade = b"GET /u HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
    switched = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    endings = {
        "answered": answering(reply()),
        "closed": close_unanswered,
        "reset": reset_unanswered,
        "bad": answering(b"HTTP/1.1 OK\r\n\r\n"),
        "cut": answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", then_close=True),
        "late": wait_until_left,
        "switched": answering(switched),
    }

    def play() -> None:
        for handler in endings.values():
            upstream.handler = handler
            for request in (GET, POST_WITH_BODY, POST_WITH_BODY[:-2], upgrade, GET[:-4], GET + GET):
                for is_patient in (True, False):
                    with router.connect() as client:
                        client.send(request)
                        client.has_bytes(0.02 if is_patient else 0)
        upstream.hang_up()

    play()
    wait_until(lambda: router.metrics()["in_flight"] == 0, "nothing in flight")
    before = worker.num_fds()
    for _ in range(3):
        play()
    wait_until(lambda: router.metrics()["in_flight"] == 0, "nothing in flight")
    wait_until(lambda: worker.num_fds() <= before, f"no more than {before} descriptors", 10)


class TestStopping:
    """Shutdown and reload finish what runs and let idle clients go without a reset."""

    @pytest.fixture
    def running(self, tmp_path: Path) -> Iterator[Pair]:
        """A router that the test may stop."""
        with running_pair(tmp_path, graceful_timeout=10) as pair:
            yield pair

    def test_request_in_flight_is_finished_and_says_close(self, router: RouterProcess, upstream: RawUpstream) -> None:
        event = threading.Event()

        def handle(exchange: Exchange) -> None:
            exchange.hold(event)
            exchange.send(reply(b"finished"))

        upstream.handler = handle
        with router.connect() as idle, router.connect() as client:
            idle.ask(b"GET /__router_health HTTP/1.1\r\n" + HOST + b"\r\n")
            client.send(GET)
            upstream.next_exchange()
            router.process.terminate()
            # The idle connection ends as soon as the worker has heard of it.
            assert idle.how_it_ends() == "closed"
            event.set()
            answer = client.read_response()
            assert (answer.body, answer.value(b"Connection")) == (b"finished", b"close")
            assert client.how_it_ends() == "closed"
        assert router.process.wait(10) == 0

    def test_stream_in_flight_is_finished(self, router: RouterProcess, upstream: RawUpstream) -> None:
        event = threading.Event()

        def handle(exchange: Exchange) -> None:
            exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            exchange.hold(event)
            exchange.send(b"1\r\nb\r\n0\r\n\r\n")

        upstream.handler = handle
        with router.connect() as idle, router.connect() as client:
            client.send(GET)
            client.read_head()
            router.process.terminate()
            assert idle.how_it_ends() == "closed"
            event.set()
            assert client.wire.read_chunked().body == b"ab"
        assert router.process.wait(10) == 0

    def test_reload_costs_no_request(self, router: RouterProcess) -> None:
        before = set(router.worker_pids)
        statuses: list[int] = []
        router.reload()

        def replaced() -> bool:
            statuses.append(router.ask(GET).status)
            return bool(router.worker_pids) and before.isdisjoint(router.worker_pids)

        wait_until(replaced, "new workers", 20)
        assert set(statuses) == {200}
