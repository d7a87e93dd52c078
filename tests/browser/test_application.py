"""An application behind the router, used by a real browser: its page, its requests, its events, its socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import missing
from tests.browser.page import open_browser
from tests.browser.websocket import greet
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

if missing():
    pytest.skip(f"needs {' '.join(missing())}", allow_module_level=True)

PAGE = b"""<!doctype html><title>shop</title><link rel="icon" href="data:,"><script>
window.seen = {}
fetch('/echo', {method: 'POST', body: 'sent by fetch'}).then(r => r.text()).then(text => seen.fetch = text)
new EventSource('/events').onmessage = event => seen.event = event.data
const socket = new WebSocket(`ws://${location.host}/socket`)
socket.onopen = () => socket.send('hello')
socket.onmessage = event => seen.socket = event.data
</script>"""

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: streamed\n\n"


def application(exchange: Exchange) -> None:
    """Answers by path, as small as such an application can be."""
    path = exchange.target
    if path == b"/echo":
        exchange.send(reply(exchange.read_body()))
    elif path == b"/events":
        exchange.send(EVENTS)
        exchange.wait_for_hang_up()
    elif path == b"/socket":
        greet(exchange, b"greeted")
    else:
        exchange.send(reply(PAGE, fields=[(b"Content-Type", b"text/html")]))


@pytest.fixture
def seen(router: RouterProcess, blue: RawUpstream, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the page has received once everything has come."""
    blue.handler = application
    router.set_state("blue", blue=blue.port)
    with open_browser(tmp_path) as browser:
        browser.get(f"http://127.0.0.1:{router.port}/")
        wait_until(lambda: len(browser.execute_script("return Object.keys(seen)")) == 3, "all three", 20)
        yield browser.execute_script("return seen")
    blue.reset()


def test_page_fetches_streams_and_speaks_through_the_router(seen: dict[str, str]) -> None:
    assert seen == {"fetch": "sent by fetch", "event": "streamed", "socket": "greeted"}
