"""Switching while clients hammer: no request fails, and none that begins afterwards sees the old version."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.event_streams import Stage, staged
from tests.support.hammering import Hammering
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("switch"), workers=2, graceful_timeout=10) as stage:
        yield stage


@pytest.fixture(autouse=True)
def versions(stage: Stage) -> None:
    """Each version answers with its name; blue is active."""
    for upstream, name in ((stage.blue, b"blue"), (stage.green, b"green")):
        upstream.reset()
        upstream.answers(reply(name))
    stage.switch("blue")


def served(upstream: RawUpstream, count: int) -> None:
    """Wait until the upstream has seen so many more requests."""
    begin = len(upstream.exchanges)
    wait_until(lambda: len(upstream.exchanges) >= begin + count, f"{count} more requests", 20)


def test_switch_and_roll_back_lose_nothing_and_hold_at_once(stage: Stage) -> None:
    with Hammering(stage.router.port) as clients:
        served(stage.blue, 300)
        to_green = stage.switch("green")
        served(stage.green, 300)
        before_back = time.monotonic()
        to_blue = stage.switch("blue")
        served(stage.blue, 300)
    assert clients.failures == []
    green = {body for start, end, body in clients.answers if to_green < start and end < before_back}
    assert green == {"green"}
    assert {body for start, _, body in clients.answers if start > to_blue} == {"blue"}


def test_many_switches_lose_nothing(stage: Stage) -> None:
    with Hammering(stage.router.port) as clients:
        for _ in range(20):
            stage.switch("green")
            served(stage.green, 20)
            stage.switch("blue")
            served(stage.blue, 20)
    assert clients.failures == []


def test_every_worker_switches_at_once(stage: Stage) -> None:
    """Connections held open to both workers follow each switch with their next request."""
    clients = [RawClient(stage.router.port) for _ in range(16)]
    for version in ("green", "blue") * 5:
        stage.switch(version)
        for client in clients:
            assert client.ask(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n").text == version
    for client in clients:
        client.wire.close()


def test_reload_under_load_loses_nothing(stage: Stage) -> None:
    before = set(stage.router.worker_pids)
    with Hammering(stage.router.port) as clients:
        served(stage.blue, 100)
        stage.router.reload()
        wait_until(lambda: before.isdisjoint(stage.router.worker_pids), "new workers", 30)
        served(stage.blue, 200)
    assert clients.failures == []
