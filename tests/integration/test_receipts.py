"""Receipts under load: what the deploy commands write down agrees with what the clients counted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.cli.deploy_events import receipt_lines
from app.cli.deploy_traffic import open_traffic
from app.deploy.deployer import Deployer
from app.deploy.deployment import Deployment
from app.deploy.events import Event, Promoted, ReceiptReady
from app.deploy.judge.gate import Gate
from app.deploy.processes.process_table import Processes
from app.deploy.record.history import History
from app.deploy.record.receipt import Receipt
from app.deploy.traffic import Traffic
from app.metrics.shared import SharedMetrics
from app.metrics.snapshot import Streams
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.router_settings import RouterConfig
from app.state.store import StateStore
from tests.integration.event_streams import Events
from tests.integration.holding import request, wait_held
from tests.support.hammering import Hammering
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, running_router
from tests.support.waiting import wait_until


@dataclass
class Site:
    """A router with two workers between two versions, and the deploy commands for it."""

    router: RouterProcess
    blue: RawUpstream
    green: RawUpstream
    traffic: Traffic
    events: list[Event] = field(default_factory=list)

    def deployer(self) -> Deployer:
        store, app = StateStore(self.router.state_file), AppConfig()
        deployment = Deployment(
            store=store,
            processes=Processes(store.folder),
            app=app,
            gate=Gate(app, self.events.append),
            traffic=self.traffic,
            report=self.events.append,
            drain_timeout_s=20,
        )
        return Deployer(deployment, History(store.folder / "history.jsonl"), "test")

    def receipts(self) -> list[Receipt]:
        return [event.receipt for event in self.events if isinstance(event, ReceiptReady)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with RawUpstream() as blue, RawUpstream() as green:
        with running_router(tmp_path / "site", blue.port, workers=2, handover_window=0) as router:
            blue.answers(reply(b"blue"))
            green.answers(reply(b"green"))
            router.set_state("blue", blue=blue.port, green=green.port)
            traffic = open_traffic(RouterConfig(state_file=str(router.state_file)))
            assert traffic is not None
            yield Site(router, blue, green, traffic)


def served(upstream: RawUpstream, count: int) -> None:
    begin = len(upstream.exchanges)
    wait_until(lambda: len(upstream.exchanges) >= begin + count, f"{count} more requests", 20)


def test_receipts_balance_and_the_metrics_agree_with_the_clients(site: Site) -> None:
    before = site.traffic.tallies()
    with Hammering(site.router.port, clients=3) as clients:
        for _ in range(3):
            served(site.blue, 50)
            site.deployer().switch("green", wait=True)
            served(site.green, 50)
            site.deployer().rollback(wait=True)
    after = site.traffic.tallies()
    assert clients.failures == []
    counted = Counter(body for _, _, body in clients.answers)
    assert {name: after[name].ended - before[name].ended for name in counted} == counted
    receipts = site.receipts()
    assert len(receipts) == 6
    for number, receipt in enumerate(receipts):
        old = receipt.accounts["blue" if number % 2 == 0 else "green"]
        for account in receipt.accounts.values():
            assert account.started == account.finished + account.cut + account.in_flight
        assert (old.in_flight, old.cut, old.failed) == (0, 0, 0)
        assert old.started <= 3, "each client has one request at a time, and none may come after the switch"


def test_no_request_reaches_the_old_version_after_the_command(site: Site) -> None:
    with Hammering(site.router.port, clients=2) as clients:
        served(site.blue, 20)
        site.deployer().switch("green")
        switched = time.monotonic()
        served(site.green, 50)
    assert {body for start, _, body in clients.answers if start > switched} == {"green"}


class Switching:
    """`switch green --wait` in a thread, while a test goes on."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._thread = threading.Thread(target=lambda: site.deployer().switch("green", wait=True))

    def __enter__(self) -> Switching:
        self._thread.start()
        wait_until(lambda: any(isinstance(event, Promoted) for event in self._site.events), "the switch")
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    @property
    def receipt(self) -> Receipt:
        """The receipt of the command, which is over."""
        [receipt] = self._site.receipts()
        return receipt


def named(request_id: str) -> bytes:
    return request(fields=b"X-Request-ID: %b\r\n" % request_id.encode())


def test_requests_of_a_killed_worker_are_cut_and_named(site: Site) -> None:
    go_on = threading.Event()

    site.blue.answers(reply(b"blue"), after=go_on)
    clients: dict[str, RawClient] = {}
    with ExitStack() as stack:

        def doomed() -> int | None:
            """The worker that has two requests in flight."""
            counts = Counter(row.pid for row in metrics.in_flight_rows("blue"))
            return next((pid for pid, count in counts.items() if count == 2), None)

        metrics = SharedMetrics.open(site.router.folder / "router_metrics.mmap")
        stack.callback(metrics.close)
        while doomed() is None:
            request_id = f"client-{len(clients)}"
            clients[request_id] = stack.enter_context(site.router.connect())
            clients[request_id].send(named(request_id))
            wait_until(lambda: len(metrics.in_flight_rows("blue")) == len(clients), "the request in flight")
        pid = doomed()
        assert pid is not None
        lost = {row.request_id for row in metrics.in_flight_rows("blue") if row.pid == pid}
        with Switching(site) as switching:
            os.kill(pid, signal.SIGKILL)
            for request_id in lost:
                assert clients[request_id].how_it_ends() in ("closed", "reset")
            go_on.set()
            for request_id in clients.keys() - lost:
                assert clients[request_id].read_response().body == b"blue"
    blue = switching.receipt.accounts["blue"]
    assert (blue.cut, blue.in_flight, blue.finished) == (2, 0, len(clients) - 2)
    assert set(blue.cut_ids) == lost
    assert blue.started == blue.finished + blue.cut + blue.in_flight
    kept = History(site.router.folder / "history.jsonl").entries()[-1].facts["receipt"]
    assert kept == switching.receipt.as_json()


def test_answer_that_breaks_off_is_cut_and_named(site: Site) -> None:
    go_on = threading.Event()

    def break_off(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe beginning")
        exchange.hold(go_on)
        exchange.close()

    site.blue.handler = break_off
    with site.router.connect() as client, site.router.connect() as earlier:
        earlier.send(named("before-the-switch"))
        earlier.read_head()
        go_on.set()
        earlier.how_it_ends()
        wait_until(lambda: site.traffic.tallies()["blue"].cut == 1, "the first cut")
        go_on.clear()
        client.send(named("cut-in-the-middle"))
        client.read_head()
        with Switching(site) as switching:
            go_on.set()
            assert client.how_it_ends() == "reset", "a cut body is never a clean end"
    blue = switching.receipt.accounts["blue"]
    assert (blue.started, blue.finished, blue.cut, blue.in_flight) == (1, 0, 1, 0)
    assert blue.cut_ids == ("cut-in-the-middle",)


def test_longest_hold_agrees_with_what_the_client_saw(site: Site) -> None:
    go_on = threading.Event()

    site.blue.answers(reply(b"blue"), after=go_on)
    with site.router.connect() as running, site.router.connect() as held:
        running.send(named("in-flight"))
        site.blue.next_exchange()
        site.blue.refuse()
        sent = time.monotonic()
        held.send(named("held"))
        wait_held(site.router, 1)
        seen_waiting = time.monotonic()
        assert site.router.metrics()["held"] == 1
        time.sleep(0.4)
        about_to_switch = time.monotonic()
        with Switching(site) as switching:
            assert held.read_response().body == b"green"
            answered = time.monotonic()
            wait_until(lambda: site.router.metrics()["version_requests"]["green"] == 1, "the held request counted")
            go_on.set()
            assert running.read_response().body == b"blue"
    green = switching.receipt.accounts["green"]
    assert (green.held, green.retried, green.cut) == (1, 1, 0)
    assert green.held_max_ms is not None
    assert green.held_max_ms == switching.receipt.longest_hold_ms
    assert about_to_switch - seen_waiting <= green.held_max_ms / 1000 <= (answered - sent) * (1 + 1 / 32)
    wait_held(site.router, 0)


def test_receipt_tells_how_streams_ended(site: Site) -> None:
    post = b"POST /v1 HTTP/1.1\r\nHost: x.test\r\nContent-Length: 2\r\n\r\n{}"
    source, whole, broken = Events(site.blue), Events(site.blue, request=post), Events(site.blue, request=post)
    with ExitStack() as stack:
        listener, answered, lost = (stack.enter_context(one.open(site.router)) for one in (source, whole, broken))
        with Switching(site) as switching:
            assert listener.wire.read_chunked().body == b""
            whole.send(b"data: [DONE]\n\n")
            whole.exchange.send(b"0\r\n\r\n")
            assert answered.wire.read_chunked().body == b"data: [DONE]\n\n"
            broken.send(b"data: 1")
            broken.exchange.close()
            lost.wire.read_chunk()
            assert lost.how_it_ends() == "reset"
    blue = switching.receipt.accounts["blue"]
    assert (blue.streams, blue.finished, blue.cut) == (Streams(handed_over=1, finished=1, cut=1), 2, 1)
    assert any("(streams: 1 handed over, 1 finished, 1 cut)" in line for line in receipt_lines(switching.receipt))
