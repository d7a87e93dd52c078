"""What people and programs see of the backends of a version that has several."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.test_backends import answers, backends, name, router  # noqa: F401
from tests.support.raw_client import Response
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

UNWELL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
WELL = reply(b"ok", fields=[(b"Connection", b"close")])

pytestmark = pytest.mark.timeout(120)


def page(router: RouterProcess, path: str) -> Response:  # noqa: F811
    return router.ask(b"GET %b HTTP/1.1\r\nHost: r\r\n\r\n" % path.encode())


def listed(router: RouterProcess) -> list[dict[str, Any]]:  # noqa: F811
    """Blue's backends, as the metrics have them."""
    found: list[dict[str, Any]] = router.metrics()["versions"]["blue"]["backends"]
    return found


def column(router: RouterProcess, field: str) -> list[Any]:  # noqa: F811
    return [row[field] for row in listed(router)]


def samples(router: RouterProcess, metric: str) -> list[float]:  # noqa: F811
    """One for each of blue's backends, in order."""
    families = text_string_to_metric_families(page(router, "/__router_metrics?format=prometheus").text)
    found = {
        sample.labels["backend"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"traffic_router_{metric}" and sample.labels.get("version") == "blue"
    }
    return [found[address] for address in column(router, "address")]


def test_requests_are_counted_by_backend_and_all_places_agree(router: RouterProcess) -> None:  # noqa: F811
    answers(router, 60)
    counts = column(router, "requests")
    assert router.metrics()["version_requests"]["blue"] == 60
    assert 60 <= sum(counts) <= 62, "each worker may have chosen once more when the state changed"
    assert min(counts) >= 10
    assert column(router, "state") == ["ok"] * 3
    assert json.loads(page(router, "/__router_health").body)["versions"]["blue"]["backends"] == listed(router)
    assert samples(router, "backend_requests_total") == counts
    assert samples(router, "backend_available") == [1, 1, 1]
    assert samples(router, "backend_in_flight") == samples(router, "backend_failures_total") == [0, 0, 0]


def test_backend_that_breaks_off_is_told_of_as_ejected(router: RouterProcess, backends: list[RawUpstream]) -> None:  # noqa: F811
    backends[1].handler = lambda exchange: exchange.reset()

    def is_ejected() -> bool:
        answers(router, 4)
        return bool(column(router, "state")[1] == "ejected")

    wait_until(is_ejected, "its ejection", 20)
    row = listed(router)[1]
    assert row["failures"] >= 5
    assert 0 < row["ejected_for_s"] <= 6
    assert row["reason"]
    assert samples(router, "backend_available") == [1, 0, 1]
    assert samples(router, "backend_failures_total")[1] >= 5
    assert column(router, "failures")[::2] == [0, 0]


def test_backend_that_fails_its_health_checks_is_told_of(router: RouterProcess, backends: list[RawUpstream]) -> None:  # noqa: F811
    backends[2].probe_answer = UNWELL
    wait_until(lambda: column(router, "state") == ["ok", "ok", "unhealthy"], "its failure", 10)
    backends[2].probe_answer = WELL
    wait_until(lambda: column(router, "state") == ["ok"] * 3, "its recovery", 10)


def test_counts_of_a_killed_worker_stay(router: RouterProcess) -> None:  # noqa: F811
    answers(router, 30)
    before = column(router, "requests")
    pids = router.worker_pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(router.worker_pids) - set(pids)) == 2, "new workers", 20)
    wait_until(lambda: page(router, "/__router_health").status == 200, "their first answer", 20)
    assert column(router, "requests") == before
    answers(router, 30)
    after = column(router, "requests")
    assert sum(after) == sum(before) + 30
    assert all(now > was for now, was in zip(after, before, strict=True))


def test_version_with_one_backend_is_told_of_as_ever(router: RouterProcess, backends: list[RawUpstream]) -> None:  # noqa: F811
    name(router, [f"127.0.0.1:{backends[0].port}"])
    wait_until(lambda: "backends" not in router.metrics()["versions"]["blue"], "the new list", 10)
    assert "versions" not in json.loads(page(router, "/__router_health").body)
    text = page(router, "/__router_metrics?format=prometheus").text
    assert "backend_requests" not in text
    assert "backend_available" not in text
