"""The record of a request: made once, in the metrics and in the log, unless its path is left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.proxy.flight import Flight
from app.router import TrafficRouter
from tests.proxy.flying import Flying

Fly = Callable[..., Flying]


def get(path: bytes) -> bytes:
    """A request for a path."""
    return b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"


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


def test_request_is_in_flight_until_its_end_and_recorded_once(flying: Flying) -> None:
    service = flying.service
    request, _ = flying.request(get(b"/slow?q"))
    row, target = service.router.claim(b"GET", b"/slow?q", request.started_us)
    flight = Flight(service.ledger, request, row, target, b"id-1")
    assert service.metrics.in_flight("blue") == 1
    assert [(row.method, row.path) for row in service.metrics.in_flight_rows("blue")] == [("GET", "/slow")]
    flight.end(200)
    flight.end(502, "connect_refused")
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
