"""What people and programs see of the backends of a version that has several."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.test_backends import POST, answers, name, router  # noqa: F401
from tests.support.environment import own_environment
from tests.support.raw_client import Response
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import ROOT, RouterProcess
from tests.support.states import put_state
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


def test_requests_in_flight_and_failed_ones_name_their_backend(
    router: RouterProcess,  # noqa: F811
    backends: list[RawUpstream],
) -> None:
    go_on = threading.Event()

    def hold(exchange: Exchange) -> None:
        go_on.wait(30)
        exchange.reset()

    for backend in backends:
        backend.handler = hold
    addresses = column(router, "address")
    with router.connect() as client:
        client.send(POST)
        wait_until(lambda: router.metrics()["oldest_in_flight"], "the request", 10)
        where = router.metrics()["oldest_in_flight"][0]["backend"]
        assert [count for count in column(router, "in_flight") if count] == [1]
        assert where == addresses[column(router, "in_flight").index(1)]
        assert f"blue {where}" in page(router, "/monitoring").text
        go_on.set()
        assert client.read_response().status == 502
    wait_until(lambda: router.metrics()["last_failed"], "its failure", 10)
    assert router.metrics()["last_failed"][-1]["backend"] == where


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


def status(router: RouterProcess, program: str, *words: str) -> str:  # noqa: F811
    """What `status` prints for that router."""
    found = {"MAIN_PORT": router.port, "STATE_FILE": router.state_file}
    found |= {"METRICS_FILE": router.folder / "router_metrics.mmap"}
    environ = own_environment() | {f"TRAFFIC_ROUTER_{name}": str(value) for name, value in found.items()}
    command = [sys.executable, str(ROOT / "bin" / program), "status", *words]
    return subprocess.run(command, env=environ, cwd=router.folder, capture_output=True, text=True, timeout=60).stdout


def test_both_commands_tell_how_the_router_finds_each(router: RouterProcess, backends: list[RawUpstream]) -> None:  # noqa: F811
    backends[2].probe_answer = UNWELL
    wait_until(lambda: column(router, "state")[2] == "unhealthy", "its failure", 10)
    first, _, third = column(router, "address")
    said = status(router, "traffic_router")
    assert "   Active at: 127.0.0.1:" in said
    assert "✅ Backend (blue on 3 backends): HEALTHY\n   Status: true\n" in said
    assert f"      ✅ {first}: ok\n" in said
    assert f"      ❌ {third}: unhealthy (its health checks fail)\n" in said
    assert f"1 of its 3 backends is out: {third} is unhealthy." in said
    said = status(router, "blue_green_deploy")
    assert re.search(rf"      ✅ {first}: 200 in [0-9.]+ ms; ok\n", said)
    assert f"      ❌ {third}: status 503" in said
    assert "; unhealthy (its health checks fail)\n" in said
    versions = json.loads(status(router, "blue_green_deploy", "--json"))["versions"]
    assert [one["state"] for one in versions["blue"]["backend_states"]] == ["ok", "ok", "unhealthy"]
    assert "backend_states" not in versions["green"]


@pytest.mark.parametrize(
    ("addresses", "port"),
    [
        (["127.0.0.1:7001"], 7001),
        (["127.0.0.1:7001", "127.0.0.2:7001"], 7001),
        (["127.0.0.1:7001", "127.0.0.1:7002"], None),
        (["unix:/run/shop.sock"], None),
        (["shop.invalid:7001"], 7001),
    ],
    ids=["one", "two machines", "two ports", "a socket", "a name"],
)
def test_active_port_is_where_requests_go(router: RouterProcess, addresses: list[str], port: int | None) -> None:  # noqa: F811
    name(router, addresses)
    report = json.loads(page(router, "/__router_health").body)
    assert (report["active_port"], report["active_addresses"]) == (port, addresses)


def test_backend_that_was_taken_out_by_hand_is_told_of_as_drained(router: RouterProcess) -> None:  # noqa: F811
    first, *more = column(router, "address")
    put_state(router.state_file, "blue", {"blue": {"backends": [first, *more], "drained": [first]}})
    assert column(router, "state") == ["drained", "ok", "ok"]
    before = column(router, "requests")[0]
    answers(router, 20)
    assert column(router, "requests")[0] == before
    assert samples(router, "backend_available") == [0, 1, 1]
    assert json.loads(page(router, "/__router_health").body)["situation"]["word"] == "serving"


@pytest.mark.parametrize("end", ["answered", "left"])
def test_request_from_before_there_were_several_is_in_flight_on_the_one_that_there_was(
    router: RouterProcess,  # noqa: F811
    backends: list[RawUpstream],
    end: str,
) -> None:
    first, other, _ = (f"127.0.0.1:{backend.port}" for backend in backends)
    name(router, [first])
    go_on = threading.Event()

    def hold(exchange: Exchange) -> None:
        go_on.wait(30)
        exchange.send(reply(b"0"))

    backends[0].handler = hold
    with ExitStack() as stack:
        clients = [stack.enter_context(router.connect()) for _ in range(3)]
        for client in clients:
            client.send(b"GET /a HTTP/1.1\r\nHost: x.test\r\n\r\n")
        wait_until(lambda: router.metrics()["versions"]["blue"]["in_flight"] == 3, "them to be in flight")
        for addresses in ([first, other], [first], [first, other]):
            name(router, addresses)
            if addresses == [first]:
                continue
            wait_until(lambda: sum(column(router, "in_flight")) == 3, "all workers to count them", 5)
            assert set(answers(router, 20)) == {"1"}, "who has none is chosen"
            wait_until(lambda: sum(column(router, "in_flight")) == 3, "no other to be counted", 5)
            assert dict(zip(addresses, column(router, "in_flight"), strict=True))[first] == 3
        if end == "left":
            for client in clients:
                client.wire.close()
        else:
            go_on.set()
            assert {client.read_response().text for client in clients} == {"0"}
        wait_until(lambda: column(router, "in_flight") == [0, 0], "nobody to be in flight", 5)
        go_on.set()
