"""The record of a request: made once, in the metrics and in the log, unless its path is left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.proxy.client_request import ClientRequest
from app.proxy.transaction import Transaction
from app.routing.router import TrafficRouter
from tests.proxy.flying import Flying

Fly = Callable[..., Flying]


def get(path: bytes) -> bytes:
    """A request for a path."""
    return b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"


def claimed(flying: Flying, request: ClientRequest) -> Transaction:
    """A request that has its claim."""
    transaction = Transaction(flying.service.records, request, b"id-1")
    transaction.claim(flying.service.router.target())
    return transaction


@pytest.mark.parametrize(
    ("excluded", "path", "counts"),
    [
        ((), b"/a", True),
        (("/a",), b"/a", False),
        (("/a",), b"/a?q=1", False),
        (("/a",), b"/ab", True),
        (("/a",), b"/a/", True),
        (("/a", "/b"), b"/b", False),
        (("/a*",), b"/a", False),
        (("/a*",), b"/ab/c", False),
        (("/a*",), b"/b", True),
        (("/a*", "/b"), b"/b", False),
        (("/a*", "/b"), b"/c?/a", True),
        (("/*",), b"/anything", False),
    ],
)
def test_excluded_paths_are_not_counted(fly: Fly, excluded: tuple[str, ...], path: bytes, counts: bool) -> None:
    flying = fly(metrics_exclude=excluded)
    flying.forward(get(path))
    counted = flying.counted()
    assert (counted.requests, counted.in_flight) == (int(counts), 0)
    assert [line["path"] for line in flying.logged()] == [path.decode()], "the access log has every request"


def test_nothing_is_counted_while_metrics_are_off(fly: Fly) -> None:
    flying = fly(metrics_enabled=False)
    flying.forward(get(b"/a"))
    assert (flying.counted().requests, flying.counted().in_flight) == (0, 0)


@pytest.mark.parametrize(
    ("taken", "size", "head", "body", "counted", "has_status"),
    [
        pytest.param(0, 103, 100, 3, 0, False, id="nothing"),
        pytest.param(99, 103, 100, 3, 0, False, id="not all of the head"),
        pytest.param(100, 103, 100, 3, 0, True, id="the head"),
        pytest.param(102, 103, 100, 3, 2, True, id="some of the body"),
        pytest.param(102, 108, 100, 3, 0, True, id="in the chunk's size"),
        pytest.param(103, 108, 100, 3, 0, True, id="the chunk's size"),
        pytest.param(105, 108, 100, 3, 2, True, id="some of the chunk"),
        pytest.param(107, 108, 100, 3, 3, True, id="in the chunk's end"),
        pytest.param(20, 26, 0, 20, 16, True, id="a later chunk"),
        pytest.param(5, 20, 0, 20, 5, True, id="a later part"),
        pytest.param(100, 105, 100, 0, 0, True, id="only the last chunk"),
        pytest.param(10, 100, 100, 0, 0, False, id="an answer without body"),
    ],
)
def test_part_that_was_not_sent_whole_counts_as_far_as_it_went(
    flying: Flying, taken: int, size: int, head: int, body: int, counted: int, has_status: bool
) -> None:
    request, _ = flying.request(get(b"/"))
    transaction = claimed(flying, request)
    transaction.first_byte_us = request.started_us
    transaction.sent_in_part(taken, size, head, body)
    assert (transaction.bytes_out, transaction.first_byte_us > 0) == (counted, has_status)
    transaction.end(200)


def test_request_is_in_flight_until_its_end_and_recorded_once(flying: Flying) -> None:
    service = flying.service
    request, _ = flying.request(get(b"/slow?q"))
    transaction = claimed(flying, request)
    assert service.metrics.in_flight("blue") == 1
    assert [(row.method, row.path) for row in service.metrics.in_flight_rows("blue")] == [("GET", "/slow")]
    transaction.end(200)
    transaction.end(502, "connect_refused")
    assert service.metrics.in_flight("blue") == 0
    counted = flying.counted()
    assert (counted.requests, counted.failed, counted.statuses.get(200)) == (1, 0, 1)
    assert [line["status"] for line in flying.logged()] == [200]


def test_claims_are_laid_on_the_shared_metrics(flying: Flying) -> None:
    router: TrafficRouter = flying.service.router
    row, target = router.claim(b"GET", b"/a", 0)
    assert (target.name, flying.service.metrics.in_flight("blue")) == ("blue", 1)
    flying.service.slot.unclaim(row, target.version)
    assert flying.counted().requests == 0
