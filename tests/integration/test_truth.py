"""The figures are the truth: through four workers, reloads, clients that leave and workers that are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.hammering import Hammering
from tests.support.raw_upstream import Exchange, RawUpstream
from tests.support.router_farm import Pair, running_pair
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

KILLS = 4
CLIENTS = 4
LEFT_LATE = 3
"""Clients that have their status, and part of the body, when they leave."""
GET = b"GET /left HTTP/1.1\r\nHost: x.test\r\n\r\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Pair]:
    with running_pair(tmp_path, workers=4, graceful_timeout=10) as (router, upstream):
        wait_until(lambda: len(workers(router)) == 4, "four workers", 30)
        yield router, upstream


def workers(router: RouterProcess) -> list[object]:
    found = router.metrics()["workers"]
    assert isinstance(found, list)
    return found


def replaced(router: RouterProcess, workers: set[int]) -> bool:
    return workers.isdisjoint(router.worker_pids)


def figure(router: RouterProcess, name: str) -> int:
    return int(str(router.metrics()[name]))


def settled(router: RouterProcess) -> None:
    """Waits until nothing is in flight any more."""
    wait_until(lambda: figure(router, "in_flight") == 0, "nothing in flight", 20)


def served(upstream: RawUpstream, count: int) -> None:
    """Waits until the upstream has seen so many more requests."""
    begin = len(upstream.exchanges)
    wait_until(lambda: len(upstream.exchanges) >= begin + count, f"{count} more requests", 30)


def test_totals_are_exact_over_reloads_and_clients_that_leave(router: RouterProcess, upstream: RawUpstream) -> None:
    left = 0
    with Hammering(router.port) as clients:
        for _ in range(2):
            served(upstream, 200)
            before = set(router.worker_pids)
            router.reload()
            wait_until(partial(replaced, router, before), "new workers", 50)
    assert clients.failures == []

    def wait_to_be_left(exchange: Exchange) -> None:
        exchange.wait_for_hang_up()

    upstream.handler = wait_to_be_left
    for _ in range(5):
        with router.connect() as client:
            client.send(GET)
            upstream.next_exchange()
        left += 1
    settled(router)

    def begin_and_wait_to_be_left(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nabc")
        exchange.wait_for_hang_up()

    upstream.handler = begin_and_wait_to_be_left
    for _ in range(LEFT_LATE):
        with router.connect() as client:
            client.send(GET)
            client.read_head()
            client.wire.read_exactly(3)
    settled(router)
    left += LEFT_LATE
    wait_until(lambda: figure(router, "total_requests") == len(clients.answers) + left, "every request counted")
    found = router.metrics()
    assert found["statuses"] == {"200": len(clients.answers), "201": LEFT_LATE, "499": left - LEFT_LATE}
    assert found["causes"] == {"client_disconnected": left}
    assert found["version_requests"] == {"blue": len(clients.answers) + left, "green": 0}
    assert (found["failed_requests"], found["cut_requests"]) == (0, 0)


def test_a_killed_worker_costs_its_requests_in_flight_and_no_figure(
    router: RouterProcess, upstream: RawUpstream
) -> None:
    totals: list[int] = []
    with Hammering(router.port, CLIENTS) as clients:
        for _ in range(KILLS):
            served(upstream, 100)
            totals.append(figure(router, "total_requests"))
            victim = sorted(router.worker_pids)[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(partial(replaced, router, {victim}), "the dead worker's burial", 30)
            wait_until(lambda: len(router.worker_pids) == 4, "its successor", 30)
            totals.append(figure(router, "total_requests"))
    settled(router)
    answered, aborted = len(clients.answers), figure(router, "aborted_requests")
    succeeded, total = figure(router, "successful_requests"), figure(router, "total_requests")
    assert totals == sorted(totals)
    # A request that was answered but not yet recorded when its worker died is counted as aborted.
    assert succeeded <= answered <= succeeded + aborted
    assert total == succeeded + aborted
    # Not more than the worker's clients of that moment: what they had sent may not have been read yet.
    assert len(clients.failures) <= KILLS * CLIENTS
