"""Receipts under load: what the deploy commands write down agrees with what the clients counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.cli.deploy_traffic import open_traffic
from app.config import AppConfig, RouterConfig
from app.deploy.deployer import Deployer
from app.deploy.drain import Traffic
from app.deploy.events import Event, ReceiptReady
from app.deploy.gate import Gate
from app.deploy.history import History
from app.deploy.processes import Processes
from app.deploy.receipt import Receipt
from app.deploy.steps import Steps
from app.state.store import StateStore
from tests.support.hammering import Hammering
from tests.support.raw_upstream import RawUpstream, reply
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
        steps = Steps(
            store=store,
            processes=Processes(store.folder),
            app=app,
            gate=Gate(app, self.events.append),
            traffic=self.traffic,
            report=self.events.append,
            drain_timeout_s=20,
        )
        return Deployer(steps, History(store.folder / "history.jsonl"), "test")

    def receipts(self) -> list[Receipt]:
        return [event.receipt for event in self.events if isinstance(event, ReceiptReady)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with RawUpstream() as blue, RawUpstream() as green:
        with running_router(tmp_path / "site", blue.port, workers=2) as router:
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
        assert all(account.balances for account in receipt.accounts.values())
        assert (old.in_flight, old.cut, old.failed) == (0, 0, 0)
        assert old.started <= 3, "each client has one request at a time, and none may come after the switch"


def test_no_request_reaches_the_old_version_after_the_command(site: Site) -> None:
    with Hammering(site.router.port, clients=2) as clients:
        served(site.blue, 20)
        site.deployer().switch("green")
        switched = time.monotonic()
        served(site.green, 50)
    assert {body for start, _, body in clients.answers if start > switched} == {"green"}
