"""The never-502 window: a request that its version refuses is held and sent when that can help and do no harm."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.integration.holding import GET, POST, health, request, wait_held
from tests.support.raw_upstream import Exchange, RawUpstream, answering, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess, free_port
from tests.support.states import pause_for, put_state
from tests.support.waiting import wait_until

SHORT_S = 0.6
"""A hold timeout for tests that wait for its end."""


def close_unanswered(exchange: Exchange) -> None:
    """Take the request and close: the application may have acted on it."""
    exchange.read_body()
    exchange.close()


@pytest.fixture
def down(pair: Pair) -> Iterator[int]:
    """The port of the active version, which does not run."""
    router, upstream = pair
    port = free_port()
    router.set_state("blue", blue=port)
    yield port
    router.set_state("blue", blue=upstream.port)


class TestDown:
    """The active version refuses connections."""

    @pytest.mark.parametrize(
        "asked",
        [GET, POST, request(b"PATCH", body=b"x"), request(b"HEAD"), GET.replace(b"HTTP/1.1", b"HTTP/1.0")],
        ids=["get", "post", "patch", "head", "http-1.0"],
    )
    def test_request_is_held_until_the_version_is_back(self, router: RouterProcess, down: int, asked: bytes) -> None:
        with router.connect() as client:
            client.send(asked)
            wait_held(router, 1)
            with RawUpstream(down) as back:
                assert client.read_response(asked.split(b" ")[0]).status == 200
                assert [exchange.method for exchange in back.exchanges] == [asked.split(b" ")[0]]
                assert back.only.body == asked.partition(b"\r\n\r\n")[2]

    def test_pause_in_the_midst_of_it_is_part_of_the_same_hold(
        self, router: RouterProcess, upstream: RawUpstream, down: int
    ) -> None:
        def counted() -> int:
            figures = router.metrics()
            return sum(figures["versions"][name]["held_requests"] for name in ("blue", "router"))

        before = counted()
        with router.connect() as client:
            client.send(GET)
            wait_held(router, 1)
            put_state(router.state_file, "blue", {"blue": {"port": down}}, pause=pause_for(60))
            assert not client.has_bytes(0.5)
            router.set_state("blue", blue=upstream.port)
            assert client.read_response().status == 200
        assert counted() == before + 1

    def test_old_client_without_host_gets_the_version_that_answers(
        self, router: RouterProcess, upstream: RawUpstream, down: int
    ) -> None:
        with router.connect() as client:
            client.send(b"GET /r HTTP/1.0\r\n\r\n")
            wait_held(router, 1)
            router.set_state("green", blue=down, green=upstream.port)
            assert client.read_response().status == 200
        assert upstream.only.head.value(b"Host") == b"127.0.0.1:%d" % upstream.port

    @pytest.mark.parametrize("size", [10, 300_000], ids=["small", "large"])
    @pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
    def test_body_that_arrives_meanwhile_is_sent_whole(
        self, router: RouterProcess, down: int, size: int, is_chunked: bool
    ) -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        if is_chunked:
            head = b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            sent = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        else:
            head = b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
            sent = body
        with router.connect() as client:
            client.send(head, sent[:5])
            wait_held(router, 1)
            client.send(sent[5:])
            wait_held(router, 1)
            with RawUpstream(down) as back:
                assert client.read_response().status == 200
                assert back.only.read_body() == body

    def test_pipelined_requests_are_answered_in_order(self, router: RouterProcess, down: int) -> None:
        with router.connect() as client:
            client.send(request(target=b"/1"))
            wait_held(router, 1)
            client.send(request(target=b"/2"))
            back = RawUpstream(down)
            back.handler = lambda exchange: exchange.send(reply(exchange.target))
            with back:
                assert [client.read_response().body for _ in range(2)] == [b"/1", b"/2"]

    def test_those_that_wait_are_let_go_in_the_order_they_came(self, farm: RouterFarm) -> None:
        router, _ = farm.get(resume_rate=20)
        down = free_port()
        router.set_state("blue", blue=down)
        with contextlib.ExitStack() as stack:
            clients = []
            for number in range(8):
                clients.append(stack.enter_context(router.connect()))
                clients[-1].send(request(b"POST", b"/%d" % number))
                wait_held(router, number + 1)
            back = stack.enter_context(RawUpstream(down))
            assert [client.read_response(b"POST").status for client in clients] == [200] * 8
            assert [exchange.target for exchange in back.exchanges] == [b"/%d" % number for number in range(8)]

    def test_switch_takes_what_is_held_to_the_new_version(
        self, router: RouterProcess, upstream: RawUpstream, down: int
    ) -> None:
        with router.connect() as client:
            client.send(POST)
            wait_held(router, 1)
            router.set_state("green", blue=down, green=upstream.port)
            assert client.read_response(b"POST").status == 200
        assert upstream.only.read_body() == b"once"
        assert router.logged(lambda entry: entry["method"] == "POST" and entry["version"] == "green")

    def test_held_request_is_in_flight_on_no_version(self, router: RouterProcess, down: int) -> None:
        with router.connect() as client:
            client.send(GET)
            wait_held(router, 1)
            assert router.metrics()["in_flight"] == 0
            with RawUpstream(down):
                assert client.read_response().status == 200
        wait_until(lambda: router.metrics()["in_flight"] == 0, "nothing in flight")

    def test_holds_and_retries_are_counted(self, router: RouterProcess, down: int) -> None:
        before = router.metrics()
        with router.connect() as client:
            client.send(GET)
            wait_held(router, 1)
            with RawUpstream(down):
                assert client.read_response().status == 200
        after = router.metrics()
        for counter in ("held_requests", "retries"):
            assert int(str(after[counter])) == int(str(before[counter])) + 1
        assert int(str(after["failed_requests"])) == int(str(before["failed_requests"]))

    @pytest.mark.parametrize("unread", [0, 140_000], ids=["nothing-unread", "body-unread"])
    @pytest.mark.parametrize("how", ["close", "reset"])
    def test_client_that_has_left_is_never_forwarded(
        self, router: RouterProcess, down: int, how: str, unread: int
    ) -> None:
        target = b"/left-%s-%d" % (how.encode(), unread)
        with router.connect() as client:
            client.send(request(b"POST", target, bytes(unread)))
            wait_held(router, 1)
            getattr(client.wire, how)()
        if not unread:
            wait_held(router, 0)
        with RawUpstream(down) as back:
            assert router.ask(GET).status == 200
            wait_held(router, 0)
            assert [exchange.target for exchange in back.exchanges] == [b"/r"]
        assert router.logged(lambda entry: entry["path"] == target.decode())["status"] == 499


class TestNotHeld:
    """Waiting would be of no use, or too long."""

    def test_version_known_to_be_stopped_is_answered_at_once(self, router: RouterProcess, pair: Pair) -> None:
        stopped = {"port": free_port(), "status": "stopped", "pid": 1, "started_at": 1.0}
        put_state(router.state_file, "blue", {"blue": stopped})
        try:
            began = time.monotonic()
            answer = router.ask(GET)
            assert time.monotonic() - began < 4
        finally:
            router.set_state("blue", blue=pair[1].port)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"connect_refused")

    @pytest.mark.parametrize("status", ["starting", "stopping", "running", "crashed"])
    def test_version_that_may_come_back_is_waited_for(self, router: RouterProcess, pair: Pair, status: str) -> None:
        port = free_port()
        put_state(router.state_file, "blue", {"blue": {"port": port, "status": status, "pid": 1}})
        try:
            with router.connect() as client:
                client.send(GET)
                wait_held(router, 1)
                with RawUpstream(port):
                    assert client.read_response().status == 200
        finally:
            router.set_state("blue", blue=pair[1].port)

    def test_restart_that_passes_through_stopped_loses_nothing(self, router: RouterProcess, pair: Pair) -> None:
        port = free_port()
        known = {"port": port, "pid": 1, "started_at": 1.0}
        try:
            with router.connect() as client:
                put_state(router.state_file, "blue", {"blue": known | {"status": "stopping"}})
                client.send(POST)
                wait_held(router, 1)
                put_state(router.state_file, "blue", {"blue": known | {"status": "stopped"}})
                wait_held(router, 1)
                put_state(router.state_file, "blue", {"blue": known | {"status": "starting"}})
                wait_held(router, 1)
                with RawUpstream(port) as back:
                    assert client.read_response().status == 200
                    assert back.only.read_body() == b"once"
        finally:
            router.set_state("blue", blue=pair[1].port)

    def test_hold_ends_with_what_refused_it(self, farm: RouterFarm) -> None:
        router, upstream = farm.get(hold_timeout=SHORT_S, circuit_failures=0)
        router.set_state("blue", blue=free_port())
        try:
            began = time.monotonic()
            answer = router.ask(GET)
            assert time.monotonic() - began >= SHORT_S
        finally:
            router.set_state("blue", blue=upstream.port)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"connect_refused")

    def test_queue_is_bounded(self, farm: RouterFarm) -> None:
        router, upstream = farm.get(hold_queue=2)
        port = free_port()
        router.set_state("blue", blue=port)
        try:
            with router.connect() as one, router.connect() as two:
                one.send(GET)
                two.send(GET)
                wait_held(router, 2)
                answer = router.ask(GET)
                assert (answer.status, answer.value(b"X-Router-Cause")) == (503, b"hold_queue_full")
                with RawUpstream(port):
                    assert [one.read_response().status, two.read_response().status] == [200, 200]
        finally:
            router.set_state("blue", blue=upstream.port)

    def test_outage_that_outlasts_the_hold_is_503_without_waiting(self, farm: RouterFarm) -> None:
        router, upstream = farm.get(hold_timeout=SHORT_S, circuit_failures=2)
        port = free_port()
        router.set_state("blue", blue=port)
        try:
            assert router.ask(GET).status == 502
            answer = router.ask(GET)
            assert (answer.status, answer.value(b"X-Router-Cause")) == (503, b"circuit_open")
            assert answer.value(b"Retry-After") == b"5"
            assert health(router)["traffic"]["worker"]["circuits"] == {"blue": "open"}
            with RawUpstream(port):
                assert router.ask(GET).status == 200, "the first connection that is taken ends it"
                assert health(router)["traffic"]["worker"]["circuits"] == {"blue": "closed"}
        finally:
            router.set_state("blue", blue=upstream.port)


class TestReset:
    """The active version closes the connection before a byte of the answer."""

    @pytest.mark.parametrize(("method", "body"), [(b"GET", b""), (b"HEAD", b""), (b"OPTIONS", b""), (b"GET", b"body")])
    def test_safe_request_is_sent_again(
        self, router: RouterProcess, upstream: RawUpstream, method: bytes, body: bytes
    ) -> None:
        upstream.answers_in_turn(close_unanswered, answering(reply(b"")))
        assert router.ask(request(method, b"/again", body)).status == 200
        assert [exchange.target for exchange in upstream.exchanges] == [b"/again", b"/again"]
        assert len({exchange.head.raw for exchange in upstream.exchanges}) == 1
        assert {exchange.body for exchange in upstream.exchanges} == {body}

    @pytest.mark.parametrize(
        "asked",
        [POST, *(request(method) for method in (b"POST", b"PATCH", b"PURGE", b"DELETE", b"PUT", b"PROPFIND"))],
        ids=["body", "post", "patch", "unknown", "delete", "put", "propfind"],
    )
    def test_request_that_may_have_ended_the_version_is_not_sent_to_another(
        self, router: RouterProcess, upstream: RawUpstream, asked: bytes
    ) -> None:
        upstream.handler = close_unanswered
        answer = router.ask(asked)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"upstream_reset")
        assert len(upstream.exchanges) == 1

    def test_upload_that_has_gone_is_not_sent_again(self, router: RouterProcess, upstream: RawUpstream) -> None:
        def take_some_and_close(exchange: Exchange) -> None:
            exchange.read_body_until(10)
            exchange.close()

        upstream.handler = take_some_and_close
        with router.connect() as client:
            client.send(b"PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n01234")
            upstream.next_exchange()
            client.send(b"56789")
            assert client.read_response().status == 502
        assert len(upstream.exchanges) == 1

    @pytest.mark.parametrize("is_kept", [False, True], ids=["new", "used"])
    def test_request_that_kills_the_version_each_time_is_given_up(
        self, router: RouterProcess, upstream: RawUpstream, is_kept: bool
    ) -> None:
        if is_kept:
            assert router.ask(GET).status == 200
        upstream.handler = close_unanswered
        answer = router.ask(GET)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"upstream_reset")
        assert len(upstream.exchanges) - is_kept == 2

    @pytest.mark.parametrize("first", [b"H", b"HTTP/1.1 103 Hint\r\nA: b\r\n\r\n"])
    def test_request_with_part_of_an_answer_is_not_sent_again(
        self, router: RouterProcess, upstream: RawUpstream, first: bytes
    ) -> None:
        upstream.answers(first, then_close=True)
        assert router.ask(GET).status == 502
        assert len(upstream.exchanges) == 1

    def test_budget_bounds_what_is_sent_again(self, farm: RouterFarm) -> None:
        router, upstream = farm.get(retry_budget=0, retry_floor=0)
        upstream.handler = close_unanswered
        assert router.ask(GET).status == 502
        assert len(upstream.exchanges) == 1

    def test_version_that_falls_between_attempts_is_waited_for(self, router: RouterProcess, pair: Pair) -> None:
        port = free_port()
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(RawUpstream(port))

            def die(exchange: Exchange) -> None:
                first.refuse()
                exchange.close()

            first.handler = die
            router.set_state("blue", blue=port)
            try:
                with router.connect() as client:
                    client.send(GET)
                    wait_held(router, 1)
                    with RawUpstream(port):
                        assert client.read_response().status == 200
            finally:
                router.set_state("blue", blue=pair[1].port)
