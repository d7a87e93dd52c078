"""`failover = "standby"`: while the active version is down, the standby has its traffic, if it is well."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.integration.holding import GET, POST, traffic, wait_held
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess, free_port
from tests.support.states import put_state
from tests.support.waiting import wait_until

ROUTER_SETTINGS = {"failover": "standby", "health_check_interval": 0.2, "circuit_failures": 3}
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
