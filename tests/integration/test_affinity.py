"""Clients stay on their backend by a cookie that the application never sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, configured_router
from tests.support.states import put_state
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

COOKIE = "__router_backend"


@pytest.fixture
def router(backends: list[RawUpstream], tmp_path: Path) -> Iterator[RouterProcess]:
    with configured_router(tmp_path, backends[0].port, '[backends]\naffinity = "cookie"\n', workers=2) as router:
        put_state(router.state_file, "blue", {"blue": {"backends": [f"127.0.0.1:{one.port}" for one in backends]}})
        yield router


def browse(router: RouterProcess, browser: requests.Session, times: int = 12, **fields: str) -> set[str]:
    return {browser.get(f"http://127.0.0.1:{router.port}/a", headers=fields, timeout=10).text for _ in range(times)}


def test_client_stays_where_it_was_first(router: RouterProcess) -> None:
    seen = set()
    for _ in range(9):
        with requests.Session() as browser:
            found = browse(router, browser)
            assert len(found) == 1
            seen |= found
    assert seen == {"0", "1", "2"}


def test_cookie_is_set_once_and_never_reaches_the_application(
    router: RouterProcess, backends: list[RawUpstream]
) -> None:
    with requests.Session() as browser:
        url = f"http://127.0.0.1:{router.port}/a"
        first = browser.get(url, headers={"X-Forwarded-Proto": "https"}, timeout=10)
        said = first.headers["Set-Cookie"]
        assert said.startswith(f"{COOKIE}=")
        assert said.endswith("; Path=/; HttpOnly; SameSite=Lax")
        assert "127.0.0.1" not in said
        own = f"{COOKIE}={browser.cookies[COOKIE]}"
        again = browser.get(url, headers={"Cookie": f"a=1; {own}; b=2"}, timeout=10)
        alone = browser.get(url, headers={"Cookie": own}, timeout=10)
        assert "Set-Cookie" not in again.headers
        assert "Set-Cookie" not in alone.headers
    heads = [exchange.head for backend in backends for exchange in backend.exchanges]
    assert [head.value(b"Cookie") for head in heads if head.value(b"Cookie")] == [b"a=1; b=2"]
    assert not any(COOKIE.encode() in head.raw for head in heads)


def test_client_whose_backend_is_gone_stays_at_the_next(router: RouterProcess, backends: list[RawUpstream]) -> None:
    with requests.Session() as browser:
        (before,) = browse(router, browser)
        backends[int(before)].handler = lambda exchange: exchange.reset()
        backends[int(before)].refuse()
        (after,) = browse(router, browser)
        assert after != before
        assert browse(router, browser) == {after}


def test_switch_makes_a_new_choice(router: RouterProcess, backends: list[RawUpstream]) -> None:
    with requests.Session() as browser:
        browse(router, browser)
        cookie = browser.cookies[COOKIE]
        addresses = [f"127.0.0.1:{one.port}" for one in backends]
        put_state(router.state_file, "green", {"green": {"backends": addresses}})
        wait_until(lambda: browse(router, browser, 1) and browser.cookies[COOKIE] != cookie, "another cookie")
        assert len(browse(router, browser)) == 1


def test_strange_cookie_is_taken_off_and_replaced(router: RouterProcess, backends: list[RawUpstream]) -> None:
    answer = requests.get(f"http://127.0.0.1:{router.port}/", headers={"Cookie": f"{COOKIE}=../../x"}, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Set-Cookie"].startswith(f"{COOKIE}=")
    assert not any(exchange.head.value(b"Cookie") for backend in backends for exchange in backend.exchanges)


def test_request_for_which_its_backend_has_no_connection_goes_to_another(
    backends: list[RawUpstream], tmp_path: Path
) -> None:
    """Nothing of it was sent, so that goes for a POST as well."""
    settings: dict[str, Any] = {"workers": 1, "pool_size": 1, "connection_timeout": 0.3, "hold_timeout": 0}
    with (
        configured_router(tmp_path, backends[0].port, '[backends]\naffinity = "cookie"\n', **settings) as router,
        requests.Session() as browser,
        ExitStack() as stack,
    ):
        put_state(router.state_file, "blue", {"blue": {"backends": [f"127.0.0.1:{one.port}" for one in backends]}})
        url = f"http://127.0.0.1:{router.port}/a"
        (own,) = browse(router, browser)
        go_on = threading.Event()
        stack.callback(go_on.set)

        def hold(exchange: Exchange) -> None:
            go_on.wait(30)
            exchange.send(reply(own.encode()))

        backends[int(own)].handler = hold
        asked = stack.enter_context(router.connect())
        cookie = f"{COOKIE}={browser.cookies[COOKIE]}".encode()
        asked.send(b"GET /a HTTP/1.1\r\nHost: x.test\r\nCookie: %b\r\n\r\n" % cookie)
        wait_until(lambda: router.metrics()["versions"]["blue"]["in_flight"] == 1, "it to be in flight")
        cookies = dict(browser.cookies)
        for answer in (requests.get(url, cookies=cookies, timeout=10), requests.post(url, b"abc", cookies=cookies)):
            assert (answer.status_code, answer.text == own) == (200, False)
        go_on.set()
        assert asked.read_response().text == own
        row = router.metrics()["versions"]["blue"]["backends"][int(own)]
        assert (row["failures"], row["state"]) == (0, "ok"), "it is busy, not down"
