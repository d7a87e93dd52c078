"""A pause: new requests wait, nothing fails, and the end stands in the state from the beginning."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.holding import GET, POST, request, traffic, wait_held
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_farm import Pair
from tests.support.states import pause_for, put_state
from tests.support.waiting import wait_until

RATE = 20
ROUTER_SETTINGS = {"resume_rate": RATE, "hold_queue": 6}


class Traffic:
    """A router whose traffic is paused and resumed through its state file, as the commands do it."""

    def __init__(self, pair: Pair) -> None:
        self.router, self.upstream = pair

    def pause(self, seconds: float = 60) -> None:
        """From now on requests wait."""
        put_state(self.router.state_file, "blue", {"blue": {"port": self.upstream.port}}, pause=pause_for(seconds))

    def resume(self) -> None:
        """Requests go on."""
        self.router.set_state("blue", blue=self.upstream.port)


@pytest.fixture
def paused(pair: Pair) -> Iterator[Traffic]:
    """The module's router in a pause."""
    traffic = Traffic(pair)
    traffic.pause()
    yield traffic
    traffic.resume()
    wait_held(traffic.router, 0)


@pytest.mark.parametrize("asked", [GET, POST], ids=["get", "post"])
def test_request_waits_until_traffic_is_resumed(paused: Traffic, asked: bytes) -> None:
    with paused.router.connect() as client:
        client.send(asked)
        wait_held(paused.router, 1)
        assert paused.upstream.exchanges == []
        assert paused.router.metrics()["in_flight"] == 0
        paused.resume()
        assert client.read_response(asked.split(b" ")[0]).status == 200
    assert paused.upstream.only.read_body() == asked.partition(b"\r\n\r\n")[2]


def test_request_in_flight_when_the_pause_begins_is_finished(pair: Pair) -> None:
    traffic = Traffic(pair)
    event = threading.Event()

    traffic.upstream.answers(reply(b"finished"), after=event)
    with traffic.router.connect() as running, traffic.router.connect() as late:
        running.send(GET)
        traffic.upstream.next_exchange()
        traffic.pause()
        late.send(GET)
        wait_held(traffic.router, 1)
        assert traffic.router.metrics()["in_flight"] == 1, "not yet quiet"
        event.set()
        assert running.read_response().body == b"finished"
        wait_until(lambda: traffic.router.metrics()["in_flight"] == 0, "the quiet point")
        assert len(traffic.upstream.exchanges) == 1
        traffic.resume()
        assert late.read_response().body == b"finished"


def test_pause_ends_by_itself_when_nobody_resumes(pair: Pair) -> None:
    traffic = Traffic(pair)
    traffic.pause(1.5)
    with traffic.router.connect() as client:
        began = time.monotonic()
        client.send(GET)
        wait_held(traffic.router, 1)
        assert client.read_response().status == 200
        assert time.monotonic() - began > 0.5
    assert traffic.router.ask(GET).status == 200


def test_release_is_first_in_first_out_at_a_bounded_rate(paused: Traffic) -> None:
    arrivals: list[float] = []

    def handle(exchange: Exchange) -> None:
        arrivals.append(time.monotonic())
        exchange.send(reply(b""))

    paused.upstream.handler = handle
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(paused.router.connect()) for _ in range(6)]
        for number, client in enumerate(clients):
            client.send(request(target=b"/%d" % number))
            wait_held(paused.router, number + 1)
        resumed = time.monotonic()
        paused.resume()
        assert [client.read_response().status for client in clients] == [200] * 6
    assert [exchange.target for exchange in paused.upstream.exchanges] == [b"/%d" % number for number in range(6)]
    assert arrivals[-1] - resumed > 0.8 * 5 / RATE


@pytest.mark.parametrize("unread", [0, 140_000], ids=["nothing-unread", "body-unread"])
def test_client_that_has_left_is_never_forwarded(paused: Traffic, unread: int) -> None:
    target = b"/left-%d" % unread
    with paused.router.connect() as client:
        client.send(request(b"POST", target, bytes(unread)))
        wait_held(paused.router, 1)
    paused.resume()
    assert paused.router.ask(GET).status == 200
    wait_held(paused.router, 0)
    assert [exchange.target for exchange in paused.upstream.exchanges] == [b"/r"]
    entry = paused.router.logged(lambda entry: entry["path"] == target.decode())
    assert (entry["status"], entry["version"]) == (499, "")


def test_place_of_a_client_that_left_is_free_again(paused: Traffic) -> None:
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            for _ in range(6):
                stack.enter_context(paused.router.connect()).send(GET)
            wait_held(paused.router, 6)
        wait_held(paused.router, 0)


def test_queue_is_bounded(paused: Traffic) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(paused.router.connect()) for _ in range(6)]
        for client in clients:
            client.send(GET)
        wait_held(paused.router, 6)
        counted = paused.router.metrics()["held_requests"]
        answer = paused.router.ask(GET)
        assert (answer.status, answer.value(b"X-Router-Cause")) == (503, b"hold_queue_full")
        assert answer.value(b"Retry-After") == b"1"
        assert paused.router.metrics()["held_requests"] == counted, "who is turned away is not held"
        paused.resume()
        assert [client.read_response().status for client in clients] == [200] * 6


def test_switch_during_a_pause_takes_what_waits_to_the_new_version(paused: Traffic) -> None:
    with paused.router.connect() as client, RawUpstream() as green:
        client.send(POST)
        wait_held(paused.router, 1)
        ports = {"blue": {"port": paused.upstream.port}, "green": {"port": green.port}}
        put_state(paused.router.state_file, "green", ports, pause=pause_for(60))
        paused.router.set_state("green", blue=paused.upstream.port, green=green.port)
        assert client.read_response(b"POST").status == 200
        assert green.only.read_body() == b"once"
    assert paused.upstream.exchanges == []


def test_pause_is_shown_and_outlives_the_workers(paused: Traffic) -> None:
    router = paused.router
    before = set(router.worker_pids)
    router.reload()
    wait_until(lambda: router.worker_pids and before.isdisjoint(router.worker_pids), "new workers", 20)
    shown = traffic(router)
    assert shown["mode"] == "paused"
    assert set(shown["pause"]) == {"since", "until"}
    with router.connect() as client:
        client.send(GET)
        wait_held(router, 1)
        paused.resume()
        assert client.read_response().status == 200
    assert traffic(router)["mode"] == "flowing"


def test_request_that_was_held_for_a_version_waits_for_the_end_of_a_pause_as_well(pair: Pair) -> None:
    router, upstream = pair
    with router.connect() as client:
        router.set_state("blue", blue=1)
        client.send(POST)
        wait_held(router, 1)
        Traffic(pair).pause()
        wait_held(router, 1)
        assert router.metrics()["in_flight"] == 0
        assert upstream.exchanges == []
        Traffic(pair).resume()
        assert client.read_response(b"POST").status == 200
