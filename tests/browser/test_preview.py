"""A preview in a real browser: the standby whole, the active version for everybody else, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from app.state.model import promote
from app.state.store import StateStore
from tests.browser.conftest import missing
from tests.browser.page import Page, open_browser
from tests.browser.websocket import greet
from tests.integration.test_preview import OURS
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import ROOT, RouterProcess
from tests.support.states import put_state
from tests.support.waiting import wait_until

if missing():
    pytest.skip(f"needs {' '.join(missing())}", allow_module_level=True)

GET = b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"

PAGE = """<!doctype html><title>%s</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/site.css">
<script>window.seen = {}</script><script src="/site.js"></script><script>
fetch('/fetched', {method: 'POST', body: 'x'}).then(r => r.text()).then(text => seen.fetch = text)
const socket = new WebSocket(`ws://${location.host}/socket`)
socket.onmessage = event => seen.socket = event.data
onload = () => seen.style = getComputedStyle(document.body).getPropertyValue('--version')
</script>"""

STORED = (b"Cache-Control", b"public, max-age=3600, immutable")
PARTS = 4
"""What a page comes to have: a script, a style, a fetch and a message."""


def application(name: str) -> Callable[[Exchange], None]:
    """A site whose every part says which version it came from; its files may be stored for an hour."""

    def answer(exchange: Exchange) -> None:
        exchange.read_body()
        if exchange.target == b"/socket":
            greet(exchange, name.encode())
        elif exchange.target == b"/fetched":
            exchange.send(reply(name.encode()))
        else:
            kind, text = {
                b"/site.css": (b"text/css", f"body {{--version: {name}}}"),
                b"/site.js": (b"text/javascript", f"seen.script = '{name}'"),
            }.get(exchange.target, (b"text/html", PAGE % name))
            stored = [] if kind == b"text/html" else [STORED]
            exchange.send(reply(text.encode(), fields=[(b"Content-Type", kind), *stored]))

    return answer


class Visitor:
    """Somebody with a browser, and with a shell on the router's machine."""

    def __init__(self, page: Page, router: RouterProcess) -> None:
        self.page, self.router = page, router

    def link(self, lasts_s: int = 600) -> str:
        """What `blue_green_deploy preview` prints for the standby; the tab is then as a new one is.

        A tab goes on using what it has in memory of the site that it shows.
        """
        own = {"STATE_FILE": str(self.router.state_file), "MAIN_PORT": str(self.router.port)}
        environment = os.environ | {f"TRAFFIC_ROUTER_{name}": value for name, value in own.items()}
        command = [sys.executable, "bin/blue_green_deploy", "preview", f"--for={lasts_s}", "--json"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        self.page.browser.get("about:blank")
        return str(json.loads(done.stdout)["url"])

    def opens(self, address: str) -> set[str]:
        """Opens an address, or goes "back" or loads it again, and gives the versions of all that is seen there."""
        browser = self.page.browser
        if address == "back":
            browser.back()
        elif address == "reload":
            browser.refresh()
        else:
            browser.get(address)
        wait_until(lambda: len(self.page.ask("return Object.keys(window.seen || {})")) == PARTS, "all parts", 20)
        return {browser.title, *self.page.ask("return Object.values(seen)")}

    @property
    def site(self) -> str:
        return f"http://127.0.0.1:{self.router.port}/"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield Page(browser)


@pytest.fixture
def visitor(page: Page, router: RouterProcess, blue: RawUpstream, green: RawUpstream) -> Iterator[Visitor]:
    """A visitor who has seen the active version; nothing of the preview may have come anywhere in the end."""
    blue.handler, green.handler = application("blue"), application("green")
    put_state(router.state_file, "blue", {"blue": {"port": blue.port}, "green": {"port": green.port}})
    visitor = Visitor(page, router)
    page.command("Network.clearBrowserCache")
    assert visitor.opens(visitor.site) == {"blue"}
    yield visitor
    page.browser.get("about:blank")
    page.command("Network.clearBrowserCookies")
    heads = [exchange.head.raw for exchange in (*blue.exchanges, *green.exchanges)]
    logs = [router.log_file.read_bytes(), router.access_log_file.read_bytes()]
    blue.reset()
    green.reset()
    assert not [text for text in (*heads, *logs) if OURS.search(text)]


def test_preview_is_all_of_the_standby_and_for_this_browser_only(visitor: Visitor) -> None:
    link = visitor.link()
    assert visitor.opens(link) == {"green"}
    assert visitor.page.browser.current_url == visitor.site
    assert visitor.page.ask("return document.cookie + document.referrer") == ""
    assert b"<title>blue" in visitor.router.ask(GET).body
    assert visitor.opens(visitor.site + "next") == {"green"}
    assert visitor.opens("back") == {"green"}


def test_preview_can_be_left_before_its_end(visitor: Visitor) -> None:
    assert visitor.opens(visitor.link()) == {"green"}
    assert visitor.opens(visitor.site + "next?__router_preview=off") == {"blue"}
    assert visitor.page.browser.current_url == visitor.site + "next"
    assert visitor.page.command("Network.getAllCookies")["cookies"] == []
    assert visitor.opens("back") == {"blue"}


def test_link_to_what_has_become_active_is_cleaned_as_well(visitor: Visitor) -> None:
    """Else the token would be in the Referer of all that the page loads."""
    link = visitor.link()
    store = StateStore(visitor.router.state_file)
    with store.lock("test", 5):
        store.write(promote(store.read(), "green", time.time()))
    assert visitor.opens(link) == {"green"}
    assert visitor.page.browser.current_url == visitor.site


def test_expired_preview_leaves_nothing_behind(visitor: Visitor) -> None:
    link = visitor.link(lasts_s=10)
    assert visitor.opens(link) == {"green"}
    assert visitor.opens(visitor.site + "next") == {"green"}
    wait_until(lambda: not visitor.page.command("Network.getAllCookies")["cookies"], "the cookie's end", 20)
    assert visitor.opens("reload") == {"blue"}
    assert visitor.opens("back") == {"blue"}
    visitor.page.browser.get(link)
    assert "This preview is not valid or has expired" in visitor.page.text("body")
