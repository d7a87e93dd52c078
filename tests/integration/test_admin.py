"""The router's own endpoints behind a proxy that nobody has told of, and at an address of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.raw_client import RawClient, Response
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_farm import running_pair
from tests.support.router_process import RouterProcess, Settings, free_port, running_router
from tests.support.waiting import wait_until

ROUTER_SETTINGS = {"hold_timeout": 0}

HEALTH, METRICS, PAGE = b"/__router_health", b"/__router_metrics", b"/monitoring"
OWN = (METRICS, PAGE, b"/__router_dashboard/frame", b"/__router_dashboard/style.css")


def get(path: bytes, *fields: bytes) -> bytes:
    return b"".join([b"GET ", path, b" HTTP/1.1\r\nHost: x.test\r\n", *(field + b"\r\n" for field in fields), b"\r\n"])


# --- something stands in front ----------------------------------------------------------------------------------

MARKS = {
    "nginx": b"X-Real-IP: 203.0.113.9",
    "HAProxy": b"X-Forwarded-For: 203.0.113.9",
    "standard": b"Forwarded: for=203.0.113.9",
    "scheme alone": b"X-Forwarded-Proto: https",
    "a gateway": b"Via: 1.1 gateway",
    "a network": b"CF-Connecting-IP: 203.0.113.9",
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=list(MARKS))
@pytest.mark.parametrize("path", OWN, ids=bytes.decode)
def test_request_that_came_through_an_unknown_proxy_is_not_from_loopback(
    router: RouterProcess, path: bytes, mark: bytes
) -> None:
    assert router.ask(get(path)).status == 200
    assert router.ask(get(path, mark)).status == 403
    assert router.ask(get(HEALTH, mark)).status == 200, "balancers ask through such proxies"


def test_refusal_is_in_the_log_with_what_helps_and_not_for_every_request(router: RouterProcess) -> None:
    for _ in range(20):
        router.ask(get(METRICS, MARKS["nginx"]))
    said = router.log.count("was refused: the request came through a proxy that forwarded_hops does not count")
    assert 1 <= said <= 10, "one in five seconds"


def test_token_and_trust_let_in_all_the_same(blue: RawUpstream, tmp_path: Path) -> None:
    settings: Settings = {"admin_token": "open sesame", "forwarded_hops": 1, "admin_allow": "203.0.113.0/24"}
    with running_router(tmp_path, blue.port, **settings) as router:
        assert router.ask(get(METRICS, MARKS["HAProxy"])).status == 200, "the client is known, and allowed"
        assert router.ask(get(METRICS, b"X-Forwarded-For: 198.51.100.1")).status == 401
        assert router.ask(get(METRICS, b"Via: 1.1 x", b"Authorization: Bearer open sesame")).status == 200


# --- who is told the cause --------------------------------------------------------------------------------------


def told(answer: Response) -> tuple[bool, bool]:
    """Whether the cause is in the fields, and in the body."""
    return answer.value(b"X-Router-Cause") is not None, b"connect_refused" in answer.body


@pytest.mark.parametrize("media", ["text/html", "application/json"])
def test_cause_is_for_those_who_may_look(router: RouterProcess, media: str) -> None:
    accept = b"Accept: " + media.encode()
    router.set_state("blue", blue=free_port())
    assert told(router.ask(get(b"/", accept))) == (True, True)
    answer = router.ask(get(b"/", accept, MARKS["nginx"]))
    assert (answer.status, told(answer)) == (502, (False, False))
    assert b"blue" not in answer.body and answer.value(b"X-Request-ID")


@pytest.mark.parametrize(("setting", "shown"), [("always", True), ("never", False)])
def test_who_is_told_can_be_set(blue: RawUpstream, tmp_path: Path, setting: str, shown: bool) -> None:
    with running_router(tmp_path, blue.port, show_cause=setting, hold_timeout=0) as router:
        router.set_state("blue", blue=free_port())
        for mark in (b"X-Plain: 1", MARKS["nginx"]):
            assert told(router.ask(get(b"/", b"Accept: application/json", mark))) == (shown, shown)


# --- an address of their own ------------------------------------------------------------------------------------


class Site:
    """A router whose own pages are at another port."""

    def __init__(self, router: RouterProcess, port: int) -> None:
        self.router = router
        self.port = port

    def ask_admin(self, raw: bytes) -> Response:
        with RawClient(self.port) as client:
            return client.ask(raw)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    port = free_port()
    admin_bind = f"127.0.0.1:{port}"
    with running_pair(tmp_path_factory.mktemp("admin"), admin_bind=admin_bind, workers=2) as (router, upstream):
        upstream.answers(reply(b"blue"))
        yield Site(router, port)


@pytest.mark.parametrize("path", OWN, ids=bytes.decode)
def test_own_pages_are_at_their_own_address_only(site: Site, path: bytes) -> None:
    assert site.ask_admin(get(path)).status == 200
    answer = site.router.ask(get(path))
    assert (answer.status, answer.body) == (404, b"Not Found\n"), "nor does the application see it"


def test_both_tell_of_the_health(site: Site) -> None:
    for answer in (site.ask_admin(get(HEALTH)), site.router.ask(get(HEALTH))):
        assert json.loads(answer.body)["status"] == "healthy"


@pytest.mark.parametrize("path", [b"/", b"/orders", b"//x", b"/__other", b"*"])
def test_application_is_not_at_the_routers_address(site: Site, path: bytes) -> None:
    method = b"OPTIONS" if path == b"*" else b"GET"
    answer = site.ask_admin(get(path).replace(b"GET", method, 1))
    assert answer.status in (400, 404), answer.body
    assert b"blue" not in answer.body
    assert path == b"*" or site.router.ask(get(path)).body == b"blue"


def test_addresses_outlive_a_reload(site: Site) -> None:
    before = set(site.router.worker_pids)
    site.router.reload()
    wait_until(lambda: len(set(site.router.worker_pids) - before) == 2, "new workers", 30)
    wait_until(lambda: before.isdisjoint(site.router.worker_pids), "the end of the old ones", 30)
    assert site.ask_admin(get(METRICS)).status == 200
    assert site.router.ask(get(b"/")).body == b"blue"
