"""TrafficRouter in a pause, in maintenance, and towards the standby: what each kind of claim is laid on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.errors import NoActiveVersion, TrafficPaused, UnderMaintenance
from app.routing.router import Target, TrafficRouter
from app.settings.tables.router_settings import RouterConfig
from tests.routing.test_router import CountedClaims
from tests.support.states import pause_for, put_state
from tests.support.waiting import wait_until


class Site:
    """A router, its claims, and its state file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bg_state.json"
        self.claims = CountedClaims()
        self.put()
        self.router = TrafficRouter(RouterConfig(state_file=str(self.path)), self.claims)

    def put(self, active: str | None = "blue", **top: object) -> None:
        """Write the state."""
        put_state(self.path, active, **top)

    def claim(self) -> Target:
        """What a claim is laid on."""
        return self.router.claim(b"GET", b"/", 0)[1]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


MAINTENANCE = {"since": 1.0, "message": "soon", "retry_after_s": 9}


def test_pause_gives_no_claim_and_ends_by_the_clock(site: Site) -> None:
    pause = pause_for(0.2)
    until = pause["until"]
    site.put(pause=pause)
    with pytest.raises(TrafficPaused):
        site.claim()
    assert site.claims.open == {}
    wait_until(lambda: time.time() > until, "the end of the pause")
    assert site.claim().name == "blue"


def test_pause_that_begins_between_claim_and_second_look_takes_the_claim_back(site: Site) -> None:
    site.claim()
    before = dict(site.claims.open)
    site.claims.meanwhile.append(lambda: site.put(pause=pause_for(60)))
    with pytest.raises(TrafficPaused):
        site.claim()
    assert site.claims.open == before


def test_maintenance_says_what_the_operator_said(site: Site) -> None:
    site.put(maintenance=MAINTENANCE)
    with pytest.raises(UnderMaintenance) as raised:
        site.claim()
    assert (raised.value.text, raised.value.retry_after_s) == ("soon", 9)


def test_maintenance_ends_by_the_clock_and_says_how_long_it_lasts(site: Site) -> None:
    until = time.time() + 0.3
    site.put(maintenance={**MAINTENANCE, "since": time.time(), "until": until})
    with pytest.raises(UnderMaintenance) as raised:
        site.claim()
    assert raised.value.retry_after_s == 1
    wait_until(lambda: time.time() > until, "the end of the maintenance")
    assert site.claim().name == "blue"


def test_port_is_known_whatever_keeps_requests_from_it(site: Site) -> None:
    site.put(maintenance=MAINTENANCE)
    assert site.router.get_active_port() == 5005
    site.put(pause=pause_for(60))
    assert site.router.get_active_port() == 5005


@pytest.mark.parametrize(
    ("mode", "text"), [({"maintenance": MAINTENANCE}, b"soon"), ({"pause": pause_for(86_400)}, b"Service paused")]
)
def test_plain_python_is_told_at_once(site: Site, mode: dict[str, object], text: bytes) -> None:
    put_state(site.path, "blue", **mode)
    status, _, body = site.router.proxy_request("GET", "/", {"Host": "x"})
    assert (status, body) == (503, text)


def test_standby_is_the_other_version(site: Site) -> None:
    row, target = site.router.claim_on(site.router.standby, b"GET", b"/", 0)
    assert (target.name, site.claims.open) == ("green", {row: 1})


def test_switch_between_claim_and_second_look_moves_a_claim_on_the_standby(site: Site) -> None:
    site.claims.meanwhile.append(lambda: site.put("green"))
    row, target = site.router.claim_on(site.router.standby, b"GET", b"/", 0)
    assert (target.name, site.claims.open) == ("blue", {row: 0})


def test_standby_and_maintenance_guests_wait_in_a_pause(site: Site) -> None:
    site.put(pause=pause_for(60), maintenance=MAINTENANCE)
    for pick in (site.router.standby, site.router.past_maintenance):
        with pytest.raises(TrafficPaused):
            site.router.claim_on(pick, b"GET", b"/", 0)
    site.put(maintenance=MAINTENANCE)
    assert site.router.claim_on(site.router.past_maintenance, b"GET", b"/", 0)[1].name == "blue"


def test_without_active_version_there_is_no_standby(site: Site) -> None:
    site.put(None)
    for pick in (site.router.standby, site.router.past_maintenance):
        with pytest.raises(NoActiveVersion):
            pick()


def test_diversion_lasts_until_the_state_changes(site: Site) -> None:
    router = site.router
    site.claim()
    router.divert(router.standby())
    assert site.claim().name == "green"
    assert router.active().name == "blue"
    site.put(serial=7)
    assert site.claim().name == "blue"


def test_nothing_is_diverted_while_traffic_is_kept_back(site: Site) -> None:
    site.put(maintenance=MAINTENANCE)
    site.router.divert(site.router.standby())
    with pytest.raises(UnderMaintenance):
        site.claim()


def test_target_of_another_state_is_no_diversion(site: Site) -> None:
    old = site.router.standby()
    site.put(serial=7)
    site.router.active()
    site.router.divert(old)
    assert site.claim().name == "blue"


@pytest.mark.parametrize(
    ("blue", "is_stopped"),
    [
        ({}, False),
        ({"status": "stopped"}, False),
        ({"status": "stopped", "pid": 7}, True),
        ({"status": "stopped", "started_at": 1.0}, True),
        ({"status": "crashed", "pid": 7}, False),
    ],
)
def test_only_a_version_that_we_have_stopped_is_known_to_be(
    site: Site, blue: dict[str, object], is_stopped: bool
) -> None:
    site.put(versions={"blue": blue})
    assert site.claim().is_stopped is is_stopped


def test_state_that_is_read_again_unchanged_makes_no_new_target(site: Site) -> None:
    site.put(serial=3)
    first = site.claim()
    assert all(site.claim() is first for _ in range(20)), "the file is too young to be trusted by its time stamp"
