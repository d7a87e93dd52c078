"""`failover = "standby"`: while the active version is down, the standby has its traffic, if it is well."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.deploy.record.history import History
from app.metrics.layout import PAGE_WORDS, WORD, H
from tests.integration.holding import GET, POST, request, traffic, wait_held
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess, Settings, free_port, running_router
from tests.support.states import put_state
from tests.support.waiting import wait_until

ROUTER_SETTINGS: Settings = {"failover": "standby", "health_check_interval": 0.2, "circuit_failures": 3}
SICK = reply(b"sick", b"500 Internal Server Error", [(b"Connection", b"close")])


class Site:
    """A router whose blue version is on a port of its own choosing, and green behind it."""

    def __init__(self, router: RouterProcess, green: RawUpstream) -> None:
        self.router, self.green = router, green
        self.blue_port = free_port()
        green.answers(reply(b"green"))

    def put(self, active: str = "blue", **green: object) -> None:
        """Write the state."""
        versions: dict[str, dict[str, object]] = {
            "blue": {"port": self.blue_port},
            "green": {"port": self.green.port, **green},
        }
        put_state(self.router.state_file, active, versions)


@pytest.fixture
def site(pair: Pair) -> Iterator[Site]:
    """The module's router, blue being active and down, green up."""
    router, green = pair
    yield Site(router, green)
    router.set_state("blue", blue=green.port)


@contextlib.contextmanager
def blue_of(site: Site) -> Iterator[RawUpstream]:
    """Blue running."""
    with RawUpstream(site.blue_port) as blue:
        blue.answers(reply(b"blue"))
        yield blue


@pytest.mark.parametrize("asked", [GET, POST], ids=["get", "post"])
def test_request_that_the_active_version_refuses_goes_to_the_standby(site: Site, asked: bytes) -> None:
    site.put()
    answer = site.router.ask(asked)
    assert (answer.status, answer.body) == (200, b"green")
    assert traffic(site.router)["mode"] == "failover"
    assert "failover: blue is down, requests go to green" in site.router.log
    assert site.router.logged(lambda entry: entry["version"] == "green" and entry["path"] == "/r")


def test_traffic_returns_when_the_active_version_is_healthy(site: Site) -> None:
    site.put()
    assert site.router.ask(GET).body == b"green"
    with blue_of(site) as blue:
        wait_until(lambda: traffic(site.router)["mode"] == "flowing", "the return")
        assert site.router.ask(GET).body == b"blue"
        assert "requests go back to it" in site.router.log
        assert len(blue.exchanges) == 1


def test_version_that_fails_again_after_its_return_is_left_at_the_first_failure(site: Site) -> None:
    site.put()
    assert site.router.ask(GET).body == b"green"
    with blue_of(site) as blue:
        blue.handler = lambda exchange: exchange.close()
        wait_until(lambda: traffic(site.router)["mode"] == "flowing", "the return")
        assert site.router.ask(GET).body == b"green", "its health checks succeed, its answers do not"
        assert len(blue.exchanges) == 1


def test_switch_by_the_operator_ends_it(site: Site) -> None:
    site.put()
    assert site.router.ask(GET).body == b"green"
    site.put("green")
    assert traffic(site.router)["mode"] == "flowing"
    assert site.router.ask(GET).body == b"green"


def test_whom_maintenance_lets_pass_it_takes_along(site: Site) -> None:
    """With one line in the log, and not one for each second."""
    versions = {"blue": {"port": site.blue_port}, "green": {"port": site.green.port}}
    maintenance = {"since": time.time(), "allow": ["127.0.0.1"]}
    before = site.router.log.count("failover: blue is down")
    put_state(site.router.state_file, "blue", versions, maintenance=maintenance)
    assert site.router.ask(GET).body == b"green"
    probes = site.green.probes
    wait_until(lambda: site.green.probes > probes + 10, "two seconds of health checks")
    assert site.router.ask(GET).body == b"green"
    assert site.router.log.count("failover: blue is down") == before + 1


def test_sick_standby_gets_nothing(site: Site) -> None:
    site.green.probe_answer = SICK
    site.put()
    wait_until(lambda: site.green.probes > 1, "a health check of the standby")
    seen = site.green.probes
    wait_until(lambda: site.green.probes > seen, "another")
    with site.router.connect() as client:
        client.send(GET)
        wait_held(site.router, 1)
        wait_until(lambda: traffic(site.router)["worker"]["circuits"]["blue"] == "open", "the open circuit")
        with blue_of(site):
            assert client.read_response().body == b"blue"
    assert site.green.exchanges == []


def test_by_default_there_is_no_failover(farm: RouterFarm) -> None:
    router, green = farm.get(health_check_interval=0.2)
    site = Site(router, green)
    site.put()
    try:
        with router.connect() as client:
            client.send(GET)
            wait_held(router, 1)
            wait_until(lambda: traffic(router)["worker"]["circuits"]["blue"] == "open", "the open circuit")
            with blue_of(site):
                assert client.read_response().body == b"blue"
    finally:
        router.set_state("blue", blue=green.port)
    assert green.exchanges == []


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Site]:
    """A router of its own with two workers, blue being active and up, green up."""
    with RawUpstream() as green, running_router(tmp_path / "site", green.port, workers=2, **ROUTER_SETTINGS) as router:
        yield Site(router, green)


def events(site: Site) -> list[tuple[str, str | None, str | None]]:
    """What the history says: command, from, to."""
    return [(entry.command, entry.came_from, entry.goes_to) for entry in history(site).entries()]


def history(site: Site) -> History:
    return History(site.router.folder / "history.jsonl")


def failover(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = site.router.metrics()["failover"]
    return found


def is_told(site: Site) -> bool:
    """Whether the leader, which looks once a second, counts a failover as going on."""
    with (site.router.folder / "router_metrics.mmap").open("rb") as file:
        header = memoryview(file.read(PAGE_WORDS * WORD)).cast("Q")
    return bool(header[H["failover_from"]])


def ask_until(site: Site, is_done: Callable[[], bool]) -> None:
    """Requests on one connection each, which come to one worker or the other; all are answered."""

    def ask() -> bool:
        assert site.router.ask(GET).body == b"green"
        return is_done()

    wait_until(ask, "the failover of all workers", 30)


def scrape(site: Site) -> str:
    return site.router.ask(request(target=b"/__router_metrics?format=prometheus")).text


def test_failover_of_all_workers_is_one_event_everywhere(workers: Site) -> None:
    workers.put()
    ask_until(workers, lambda: failover(workers)["workers"] == 2)
    wait_until(lambda: events(workers), "a line in the history")
    began = failover(workers)["since"]
    assert (failover(workers)["version"], failover(workers)["count"]) == ("blue", 1)
    assert abs(began - time.time()) < 60
    assert traffic(workers.router)["failover"]["to"] == "green"
    assert "traffic_router_failover_active 1.0" in scrape(workers)
    with blue_of(workers):
        wait_until(lambda: traffic(workers.router)["mode"] == "flowing", "the return", 30)
        wait_until(lambda: len(events(workers)) == 2, "its line in the history", 30)
    assert events(workers) == [("failover", "blue", "green"), ("failback", "green", "blue")]
    assert [link.fault for link in history(workers).verify()] == ["", ""]
    assert failover(workers) == {"version": None, "workers": 0, "since": None, "count": 1}
    assert traffic(workers.router)["failover"] is None
    assert "traffic_router_failovers_total 1.0" in scrape(workers)
    assert "traffic_router_failover_active 0.0" in scrape(workers)


def test_failover_that_a_switch_ends_has_no_way_back(workers: Site) -> None:
    workers.put()
    ask_until(workers, lambda: bool(events(workers)))
    workers.put("green")
    assert traffic(workers.router)["failover"] is None
    wait_until(lambda: failover(workers)["workers"] == 0, "the end of it")
    wait_until(lambda: not is_told(workers), "the leader's look; what began again before it would be the same failover")
    workers.put("blue", release="a state to see")
    ask_until(workers, lambda: failover(workers)["count"] == 2)
    wait_until(lambda: len(events(workers)) == 2, "the second line")
    assert events(workers) == [("failover", "blue", "green")] * 2


def test_locked_history_does_not_hurt_traffic(workers: Site) -> None:
    with history(workers).path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        workers.put()
        ask_until(workers, lambda: failover(workers)["count"] == 1)
        for _ in range(20):
            assert workers.router.ask(GET).body == b"green"
        assert events(workers) == []
    wait_until(lambda: events(workers) == [("failover", "blue", "green")], "the line after the lock")


def test_history_that_stays_locked_does_not_keep_the_router_from_ending(workers: Site) -> None:
    with history(workers).path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        workers.put()
        ask_until(workers, lambda: failover(workers)["count"] == 1)
        assert workers.router.stop() == 0
        assert "graceful timeout" not in workers.router.log


def test_history_that_cannot_be_written_is_in_the_log_only(workers: Site) -> None:
    history(workers).path.mkdir()
    workers.put()
    ask_until(workers, lambda: "failover is not in the history" in workers.router.log)
    assert failover(workers)["count"] == 1
