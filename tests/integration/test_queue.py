"""Requests that wait because each backend has as many as it may have: in order, over all workers, across a switch."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router, free_port
from tests.support.states import put_state
from tests.support.waiting import wait_until

GET = b"GET /a HTTP/1.1\r\nHost: x.test\r\n\r\n"

pytestmark = pytest.mark.timeout(120)


class Slow:
    """A backend that counts what it has at a time, and answers when it is told to or after a while."""

    def __init__(self, upstream: RawUpstream, seconds: float = 60.0) -> None:
        self.port = upstream.port
        self.most = self.now = 0
        self.order: list[bytes] = []
        self.go_on = threading.Event()
        self._seconds = seconds
        self._lock = threading.Lock()
        upstream.handler = self._answer

    def _answer(self, exchange: Exchange) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.order.append(exchange.target)
        self.go_on.wait(self._seconds)
        with self._lock:
            self.now -= 1
        exchange.send(reply(b"%d" % self.port))


def limited(folder: Path, port: int, workers: int = 2, **backends: object) -> AbstractContextManager[RouterProcess]:
    """A router with these settings of `[backends]`."""
    lines = "".join(f"{name} = {value}\n" for name, value in backends.items())
    settings: dict[str, Any] = {"workers": workers, "health_check_interval": 0.5, "graceful_timeout": 5}
    return configured_router(folder, port, "[backends]\n" + lines, **settings)


def put_behind(router: RouterProcess, *upstreams: RawUpstream) -> None:
    """Has the active version listen at these."""
    addresses = [f"127.0.0.1:{upstream.port}" for upstream in upstreams]
    put_state(router.state_file, "blue", {"blue": {"backends": addresses}})


def waiting(router: RouterProcess) -> int:
    return int(router.metrics()["queued"])


def asked(stack: ExitStack, router: RouterProcess, target: str = "/a") -> RawClient:
    """A request on a connection of its own that is not answered yet."""
    client = stack.enter_context(router.connect())
    client.send(f"GET {target} HTTP/1.1\r\nHost: x.test\r\n\r\n".encode())
    return client


def test_no_backend_has_more_than_its_limit_whatever_worker_sends(tmp_path: Path) -> None:
    with RawUpstream() as one, RawUpstream() as other:
        backends = [Slow(one, 0.01), Slow(other, 0.01)]
        with limited(tmp_path, one.port, workers=4, max_in_flight=2, queue=500) as router:
            put_behind(router, one, other)
            with ThreadPoolExecutor(40) as pool:
                answers = list(pool.map(lambda _: router.ask(GET).status, range(400)))
        assert set(answers) == {200}
        assert [backend.most for backend in backends] == [2, 2]


@pytest.mark.alone
def test_who_came_first_goes_first(tmp_path: Path) -> None:
    with (
        RawUpstream() as upstream,
        limited(tmp_path, upstream.port, workers=3, max_in_flight=1) as router,
        ExitStack() as stack,
    ):
        backend = Slow(upstream)
        clients = []
        for number in range(12):
            clients.append(asked(stack, router, f"/{number}"))
            wait_until(lambda: backend.now + waiting(router) == len(clients), "it to wait")
            time.sleep(0.03)  # workers grant one another less
        backend.go_on.set()
        assert [client.read_response().status for client in clients] == [200] * 12
        assert backend.order == [b"/%d" % number for number in range(12)]
        assert backend.most == 1


def test_queue_that_is_full_turns_away_at_once(tmp_path: Path) -> None:
    with (
        RawUpstream() as upstream,
        limited(tmp_path, upstream.port, max_in_flight=1, queue=3) as router,
        ExitStack() as stack,
    ):
        backend = Slow(upstream)
        clients = [asked(stack, router) for _ in range(4)]
        wait_until(lambda: waiting(router) == 3, "the queue to be full")
        refused = router.ask(GET)
        assert (refused.status, refused.value(b"Retry-After")) == (503, b"1")
        assert router.logged(lambda entry: entry["status"] == 503)["cause"] == "queue_full"
        backend.go_on.set()
        assert {client.read_response().status for client in clients} == {200}


def test_wait_ends_in_time(tmp_path: Path) -> None:
    with (
        RawUpstream() as upstream,
        limited(tmp_path, upstream.port, max_in_flight=1, queue_timeout=0.5) as router,
        ExitStack() as stack,
    ):
        backend = Slow(upstream)
        first = asked(stack, router)
        wait_until(lambda: backend.now == 1, "the first request")
        began = time.monotonic()
        refused = router.ask(GET)
        assert (refused.status, refused.value(b"Retry-After")) == (503, b"5")
        assert 0.4 < time.monotonic() - began < 5
        entry = router.logged(lambda entry: entry["status"] == 503)
        assert (entry["cause"], entry["version"]) == ("queue_timeout", "blue"), "the version has it to answer for"
        backend.go_on.set()
        assert first.read_response().status == 200


def test_who_left_while_waiting_is_never_sent(tmp_path: Path) -> None:
    with RawUpstream() as upstream, limited(tmp_path, upstream.port, max_in_flight=1) as router, ExitStack() as stack:
        backend = Slow(upstream)
        first = asked(stack, router, "/first")
        wait_until(lambda: backend.now == 1, "the first request")
        with router.connect() as client:
            client.send(b"GET /left HTTP/1.1\r\nHost: x.test\r\n\r\n")
            wait_until(lambda: waiting(router) == 1, "it to wait")
        wait_until(lambda: waiting(router) == 0, "it to be gone")
        last = asked(stack, router, "/last")
        wait_until(lambda: waiting(router) == 1, "the last to wait")
        backend.go_on.set()
        assert first.read_response().status == last.read_response().status == 200
        assert backend.order == [b"/first", b"/last"]
        assert router.logged(lambda entry: entry["path"] == "/left")["status"] == 499


def test_who_waits_follows_a_switch(tmp_path: Path) -> None:
    with (
        RawUpstream() as blue,
        RawUpstream() as green,
        limited(tmp_path, blue.port, max_in_flight=1) as router,
        ExitStack() as stack,
    ):
        old, new = Slow(blue), Slow(green)
        clients = [asked(stack, router) for _ in range(5)]
        wait_until(lambda: waiting(router) == 4, "four to wait")
        new.go_on.set()
        put_state(router.state_file, "green", {"green": {"port": green.port}})
        wait_until(lambda: len(new.order) == 4, "the other version to have them")
        assert len(old.order) == 1
        old.go_on.set()
        assert {client.read_response().status for client in clients} == {200}
        assert new.most == 1


def test_what_a_killed_worker_had_makes_room(tmp_path: Path) -> None:
    with RawUpstream() as upstream, limited(tmp_path, upstream.port, max_in_flight=1) as router, ExitStack() as stack:
        backend = Slow(upstream)
        asked(stack, router)
        wait_until(lambda: backend.now == 1, "the first request")
        for pid in router.worker_pids:
            os.kill(pid, signal.SIGKILL)
        backend.go_on.set()
        wait_until(lambda: router.ask(GET).status == 200, "an answer", 10)


def test_worker_that_hangs_does_not_keep_the_others_from_their_turn(tmp_path: Path) -> None:
    with (
        RawUpstream() as upstream,
        limited(tmp_path, upstream.port, workers=2, max_in_flight=1, queue=50) as router,
        ExitStack() as stack,
    ):
        backend = Slow(upstream)
        asked(stack, router)
        wait_until(lambda: backend.now == 1, "the first request")
        busy = router.metrics()["oldest_in_flight"][0]["pid"]
        clients = [asked(stack, router) for _ in range(30)]
        wait_until(lambda: waiting(router) == 30, "the others to wait")
        hung = next(pid for pid in router.worker_pids if pid != busy)
        os.kill(hung, signal.SIGSTOP)
        try:
            backend.go_on.set()
            answered = sum(client.has_bytes(0.2) for client in clients)
        finally:
            os.kill(hung, signal.SIGCONT)
        assert answered > 0
        assert {client.read_response().status for client in clients} == {200}
        assert backend.most == 1


def test_free_backend_of_several_is_used_before_anybody_waits(tmp_path: Path) -> None:
    with (
        RawUpstream() as one,
        RawUpstream() as other,
        limited(tmp_path, one.port, max_in_flight=1) as router,
        ExitStack() as stack,
    ):
        put_behind(router, one, other)
        backends = [Slow(one), Slow(other)]
        clients = [asked(stack, router) for _ in range(2)]
        wait_until(lambda: [backend.now for backend in backends] == [1, 1], "one each")
        assert waiting(router) == 0
        for backend in backends:
            backend.go_on.set()
        assert {client.read_response().status for client in clients} == {200}


def test_post_that_waited_is_sent_with_its_body_once(tmp_path: Path) -> None:
    with RawUpstream() as upstream, limited(tmp_path, upstream.port, max_in_flight=1) as router, ExitStack() as stack:
        backend = Slow(upstream)
        first = asked(stack, router)
        wait_until(lambda: backend.now == 1, "the first request")
        client = stack.enter_context(router.connect())
        body = bytes(200_000)
        client.send(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:1000])
        wait_until(lambda: waiting(router) == 1, "it to wait")
        upstream.handler = lambda exchange: exchange.send(reply(b"%d" % len(exchange.read_body())))
        backend.go_on.set()
        assert first.read_response().status == 200
        client.send(body[1000:])
        assert client.read_response().text == str(len(body))


def test_limit_of_a_port_that_nobody_listens_on_is_a_bad_gateway(tmp_path: Path) -> None:
    with limited(tmp_path, free_port(), max_in_flight=1) as router:
        put_state(router.state_file, "blue", {"blue": {"status": "stopped", "started_at": 1.0}})
        assert {router.ask(GET).status for _ in range(3)} <= {502, 503}


@pytest.mark.parametrize("hold_timeout", [0, 5])
@pytest.mark.parametrize("way", ["resets", "resets a used connection", "refuses"])
def test_get_that_a_dying_backend_breaks_off_waits_for_room_on_another(
    tmp_path: Path, way: str, hold_timeout: int
) -> None:
    settings: dict[str, Any] = {"workers": 1, "graceful_timeout": 5, "hold_timeout": hold_timeout}
    settings |= {"circuit_failures": 0, "health_check_interval": 60}  # nobody else finds out that it is dying
    with (
        RawUpstream() as one,
        RawUpstream() as other,
        configured_router(tmp_path, one.port, "[backends]\nmax_in_flight = 1\n", **settings) as router,
        ExitStack() as stack,
    ):
        put_behind(router, one, other)
        one.answers(reply(b"one"))
        busy = Slow(other)
        while not busy.now:  # and the connection to the other one is a used one
            first = asked(stack, router)
            if first.has_bytes(0.2):
                assert first.read_response().text == "one"
        one.handler = lambda exchange: exchange.reset()
        if way == "refuses":
            one.refuse()
        if way != "resets a used connection":  # this one uses it up
            posted = router.ask(b"POST /p HTTP/1.1\r\nHost: x.test\r\nContent-Length: 0\r\n\r\n")
            assert (posted.status, busy.order.count(b"/p")) == (502, 0), "it may have been executed"
        again = asked(stack, router, "/again")
        wait_until(lambda: waiting(router) == 1, "it to wait for room")
        busy.go_on.set()
        assert first.read_response().text == again.read_response().text == str(other.port)
        assert busy.order.count(b"/again") == 1
