"""Several backends behind one version: requests are spread, leave who refuses them, and come back to who is well."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.client

from tests.support.raw_client import RawClient, ask
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import ROOT, RouterProcess, free_port, running_router
from tests.support.states import put_state
from tests.support.waiting import wait_until

GET = b"GET /a HTTP/1.1\r\nHost: x.test\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x.test\r\nContent-Length: 3\r\n\r\nabc"
SETTINGS: dict[str, Any] = {"workers": 2, "health_check_interval": 0.5, "graceful_timeout": 5}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def router(backends: list[RawUpstream], tmp_path: Path) -> Iterator[RouterProcess]:
    """With the three behind its active version."""
    with running_router(tmp_path, backends[0].port, **SETTINGS) as router:
        name(router, [f"127.0.0.1:{backend.port}" for backend in backends])
        yield router


def name(router: RouterProcess, addresses: list[str]) -> None:
    put_state(router.state_file, "blue", {"blue": {"backends": addresses}})


def answers(router: RouterProcess, times: int, request: bytes = GET) -> Counter[str]:
    """What so many requests on connections of their own are answered with: a backend's number, or the status."""
    found = (router.ask(request) for _ in range(times))
    return Counter(answer.text if answer.status == 200 else str(answer.status) for answer in found)


def test_each_backend_has_its_share(router: RouterProcess) -> None:
    found = answers(router, 60)
    assert set(found) == {"0", "1", "2"}
    assert min(found.values()) >= 10


def test_who_is_busy_is_spared_by_all_workers(router: RouterProcess, backends: list[RawUpstream]) -> None:
    go_on = threading.Event()

    def hold(exchange: Exchange) -> None:
        go_on.wait(30)
        exchange.send(reply(b"0"))

    backends[0].handler = hold
    with ExitStack() as stack:
        while True:
            waiting = stack.enter_context(router.connect())
            waiting.send(GET)
            if not waiting.has_bytes(0.5):
                break
        assert set(answers(router, 40)) == {"1", "2"}
        go_on.set()
        assert waiting.read_response().text == "0"


def test_who_refuses_costs_nobody_a_request(router: RouterProcess, backends: list[RawUpstream]) -> None:
    backends[1].refuse()
    found = answers(router, 30) + answers(router, 30, POST)
    assert set(found) == {"0", "2"}
    assert router.log.count("its circuit is open") <= 2, "once for each worker"


def test_who_comes_back_has_requests_again(tmp_path: Path, backends: list[RawUpstream]) -> None:
    late = free_port()
    with running_router(tmp_path, backends[0].port, **SETTINGS) as router:
        name(router, [f"127.0.0.1:{backends[0].port}", f"127.0.0.1:{backends[1].port}", f"127.0.0.1:{late}"])
        assert set(answers(router, 40)) == {"0", "1"}
        with RawUpstream(late) as back:
            back.answers(reply(b"back"))
            wait_until(lambda: "back" in answers(router, 6), "its first request", 20)
            wait_until(lambda: answers(router, 30)["back"] >= 8, "its share", 20)


def test_get_that_is_reset_goes_to_another_and_a_post_to_nobody(
    router: RouterProcess, backends: list[RawUpstream]
) -> None:
    def break_off(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reset()

    backends[0].handler = break_off
    assert set(answers(router, 10)) == {"1", "2"}
    posted = answers(router, 12, POST)
    assert set(posted) <= {"1", "2", "502"}
    arrived = sum(exchange.method == b"POST" for backend in backends for exchange in backend.exchanges)
    assert arrived == 12, "each once"


def test_get_that_meets_a_dying_process_goes_to_another_before_it_is_sent_there_twice(
    router: RouterProcess, backends: list[RawUpstream]
) -> None:
    """Its connections are reset one after the other, and the listener goes last."""
    assert set(answers(router, 30)) == {"0", "1", "2"}
    backends[0].handler = lambda exchange: exchange.reset()
    assert set(answers(router, 60)) == {"1", "2"}
    assert backends[0].faults == []


def test_who_fails_its_health_checks_is_left_out(router: RouterProcess, backends: list[RawUpstream]) -> None:
    backends[2].probe_answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    wait_until(lambda: set(answers(router, 12)) == {"0", "1"}, "it to be left out", 10)
    assert set(answers(router, 30)) == {"0", "1"}
    backends[2].probe_answer = reply(b"ok", fields=[(b"Connection", b"close")])
    wait_until(lambda: "2" in answers(router, 12), "it to be back", 10)


@pytest.mark.parametrize("fails", ["health checks", "requests"])
@pytest.mark.parametrize("away", ["drained", "starting"])
def test_who_is_given_requests_anew_has_them_before_the_next_health_check(
    tmp_path: Path, backends: list[RawUpstream], away: str, fails: str
) -> None:
    """Whoever replaced its process has found it well; what was said of the one before is void."""
    addresses = [f"127.0.0.1:{backend.port}" for backend in backends]
    ways: dict[str, dict[str, Any]] = {"drained": {"drained": addresses[2:]}, "starting": {"status": "starting"}}
    settings = SETTINGS | {"health_check_interval": 8, "hold_timeout": 0}
    with running_router(tmp_path, backends[0].port, **settings) as router:
        name(router, addresses)
        if fails == "requests":
            backends[2].handler = lambda exchange: exchange.reset()
        else:
            backends[2].probe_answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        wait_until(lambda: set(answers(router, 30)) == {"0", "1"}, "it to be left out", 20)
        put_state(router.state_file, "blue", {"blue": {"backends": addresses, **ways[away]}})
        answers(router, 30)
        backends[2].answers(reply(b"2"))
        checks = backends[2].probes
        name(router, addresses)
        found = answers(router, 60)
        assert backends[2].probes == checks, "no health check may have found it well meanwhile"
        assert found["2"] >= 10


def test_version_whose_last_backend_is_gone_holds_and_then_answers_502(
    router: RouterProcess, backends: list[RawUpstream]
) -> None:
    for backend in backends:
        backend.refuse()
    with router.connect() as client:
        client.send(GET)
        wait_until(lambda: router.metrics()["held"] == 1, "the held request", 10)
        put_state(router.state_file, "green", {"green": {"port": (other := free_port())}})
        with RawUpstream(other) as green:
            green.answers(reply(b"green"))
            assert client.read_response().text == "green", "it follows the switch"


def test_one_backend_alone_can_be_at_a_unix_socket(tmp_path: Path) -> None:
    """Bodies both ways, a long one by splice, an event stream, a WebSocket, health checks."""
    path = tmp_path / "shop.sock"
    command = [sys.executable, "-m", "uvicorn", "--uds", str(path), "--log-level", "warning"]
    application = subprocess.Popen([*command, "tests.support.apps.fastapi_app:app"], cwd=ROOT)
    try:
        wait_until(path.exists, "the socket", 20)
        with running_router(tmp_path / "router", 1, **SETTINGS) as router:
            name(router, [f"unix:{path}"])
            echoed = router.ask(b"GET /echo HTTP/1.0\r\n\r\n")
            assert echoed.status == 200
            size = 3_000_000
            downloaded = router.ask(b"GET /download?size=%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
            assert len(downloaded.body) == size
            head = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
            assert str(size) in router.ask(head, bytes(size)).text
            with websockets.sync.client.connect(f"ws://127.0.0.1:{router.port}/ws", proxy=None) as client:
                client.send("hello")
                assert "hello" in str(client.recv())
            health = b"GET /__router_health HTTP/1.1\r\nHost: x\r\n\r\n"
            wait_until(lambda: router.ask(health).status == 200, "a good health check", 10)
    finally:
        application.terminate()
        application.wait(20)


def test_idle_connections_to_one_that_is_named_no_more_are_ended(
    router: RouterProcess, backends: list[RawUpstream]
) -> None:
    assert set(answers(router, 24)) == {"0", "1", "2"}
    name(router, [f"127.0.0.1:{backend.port}" for backend in backends[:2]])

    def are_ended() -> bool:
        router.ask(GET)
        return all(connection.ended.is_set() for connection in backends[2].connections)

    wait_until(are_ended, "their end", 10)
    name(router, [f"127.0.0.1:{backend.port}" for backend in backends])
    wait_until(lambda: "2" in answers(router, 6), "it to have requests again", 10)


class Backend:
    """A real process that can be killed at any moment."""

    def __init__(self, orders: Path) -> None:
        self.port = free_port()
        self._orders = orders
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.support.counted_backend", str(self.port), str(self._orders)]
        self.process = subprocess.Popen(command, cwd=ROOT)

    def answers(self) -> bool:
        try:
            return ask(self.port, GET).status == 200
        except OSError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Customers:
    """Threads that ask without pause, every fourth time with an order of its own number."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._is_over = threading.Event()
        self.failed: list[str] = []
        self.served: list[str] = []
        self.asked = 0
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self) -> Customers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, number: int) -> None:
        client, count = RawClient(self._port), 0
        while not self._is_over.is_set():
            count += 1
            order = f"{number}-{count}" if count % 4 == 0 else ""
            line = f"X-Order: {order}\r\nContent-Length: 2\r\n\r\n{{}}" if order else "\r\n"
            request = f"{'POST' if order else 'GET'} /order HTTP/1.1\r\nHost: x.test\r\n{line}".encode()
            self.asked += 1
            try:
                answer = client.ask(request)
            except (OSError, ValueError) as error:
                self.failed.append(f"{order or 'GET'} {error!r}")
                client = RawClient(self._port)
                continue
            if answer.status != 200:
                self.failed.append(f"{order or 'GET'} {answer.status}")
            elif order:
                self.served.append(order)
            if answer.value(b"Connection") == b"close":
                client = RawClient(self._port)
        client.wire.close()


KILLS = 4


def test_backend_that_is_killed_costs_nothing_but_the_orders_in_its_hands(tmp_path: Path) -> None:
    orders = tmp_path / "orders"
    with ExitStack() as stack:
        backends = [Backend(orders) for _ in range(4)]
        for backend in backends:
            stack.callback(backend.kill)
            wait_until(backend.answers, "the backend", 20)
        router = stack.enter_context(running_router(tmp_path / "router", backends[0].port, **SETTINGS))
        name(router, [f"127.0.0.1:{backend.port}" for backend in backends])
        with Customers(router.port, 8) as customers:
            for number in range(KILLS):
                time.sleep(1.0)
                victim = backends[number % len(backends)]
                victim.kill()
                time.sleep(0.5)
                victim.start()
                wait_until(victim.answers, "the backend again", 20)
        written = Counter(orders.read_text().split())
        assert customers.asked > 500
        assert [order for order, times in written.items() if times > 1] == [], "no order twice"
        assert set(customers.served) <= set(written)
        lost = [order for order in customers.failed if order.startswith("GET")]
        assert lost == [], "no GET"
        assert len(customers.failed) <= 8 * KILLS, "as many as can have been in a killed one's hands"
