"""A page that hears nothing says so, in headline, tab, icon and cards, and goes on by itself when it can."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.conftest import missing
from tests.browser.page import Page
from tests.browser.relay import Relay
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess, running_router
from tests.support.waiting import wait_until

if missing():
    pytest.skip(f"needs {' '.join(missing())}", allow_module_level=True)

SECONDS = 12.0
"""Within which a loss must be said: five of silence, and a machine that has much else to do."""

GREEN = ("rgb(17, 120, 63)", "rgb(23, 134, 75)")

COLOURS = """
const found = new Set();
for (const element of document.querySelectorAll("main > :not(.now) *")) {
  if (!element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  for (const name of ["color", "background-color", "border-top-color", "fill", "stroke"]) found.add(style[name]);
}
return [...found];
"""

RECORD = """
window.said = [];
new MutationObserver(() => said.push(document.querySelector("#sentence").textContent))
  .observe(document.querySelector("#sentence"), { childList: true });
"""


@pytest.fixture
def live(page: Page, router: RouterProcess) -> Iterator[Page]:
    """The page of the router, while it hears from it; what the console says of lost connections is of no interest."""
    page.open(router.port)
    page.wait_until_live()
    yield page
    page.browser.get("about:blank")
    page.complaints()


def assert_lost(page: Page, cause: str) -> None:
    """Waits until the page says everywhere that it hears nothing, and why."""
    page.wait_for("h1", "No word from the router since", SECONDS)
    page.wait_for("#advice", cause, SECONDS)
    at = re.search(r"since (\d\d:\d\d:\d\d), for \d+ (s|min)\.", page.text("h1"))
    assert at is not None, page.text("h1")
    assert page.browser.title == f"⚠ No word since {at[1]} · Traffic Router"
    assert page.ask("return document.querySelector('#icon').href").startswith("data:image/svg+xml,")
    for name in ("blue", "green"):
        assert page.text(f"#card-{name} .status") == f"As of {at[1]}"
        assert page.text(f"#card-{name} .role").startswith("Was ")
    assert page.text("#link") == f"No word since {at[1]}"
    assert page.text("#in-flight-title") == f"In flight at {at[1]}"
    assert "bin/traffic_router status" in page.text("#advice")
    assert "No word from the router since" in page.ask("return document.querySelector('#spoken').textContent")
    wait_until(lambda: not set(GREEN) & set(page.ask(COLOURS)), "no green")


def assert_back(page: Page) -> None:
    """Waits until the page says that it hears again, and looks as it always does.

    The headline may be of a switch: other tests have used this router as well.
    """
    wait_until(lambda: not page.text("h1").startswith("No word"), "the headline of a page that hears", 20)
    page.wait_for("#gap", "This page hears the router again since ")
    page.wait_until_live()
    # A switch back, just before the router hung, may be in the next frame only.
    wait_until(lambda: page.text("#card-blue .role") == "Active", "blue as the active one")
    assert page.browser.title == "Blue · Traffic Router"
    assert "icon-blue" in page.ask("return document.querySelector('#icon').href")
    assert page.text("#in-flight-title") == "In flight now"
    wait_until(lambda: set(GREEN) & set(page.ask(COLOURS)), "green")


@contextmanager
def stopped(router: RouterProcess) -> Iterator[None]:
    """The router hangs: its connections stay open, and nothing comes."""
    pids = [router.master_pid, *router.worker_pids]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


def test_router_that_hangs(live: Page, router: RouterProcess, axe: str, screenshots: Path) -> None:
    with stopped(router):
        assert_lost(live, "no answer comes")
        assert live.hard_to_read(axe, "main") == []
        live.picture(screenshots / "lost.png")
    assert_back(live)
    live.picture(screenshots / "back.png")


def test_router_that_is_killed_and_started_again(page: Page, blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port) as router:
        page.open(router.port)
        page.wait_until_live()
        os.killpg(router.master_pid, signal.SIGKILL)
        assert_lost(page, f"Nobody answers at 127.0.0.1:{router.port}")
    with running_router(tmp_path, blue.port, main_port=router.port):
        assert_back(page)
        page.browser.get("about:blank")
    page.complaints()


def test_network_that_is_gone(page: Page, relay: Relay) -> None:
    page.open(relay.port)
    page.wait_until_live()
    online = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.command("Network.enable")
    page.command("Network.emulateNetworkConditions", **{**online, "offline": True})
    try:
        relay.forget()  # the emulation cuts nothing that is open already
        assert_lost(page, "This browser is offline")
    finally:
        page.command("Network.emulateNetworkConditions", **online)
    assert_back(page)
    page.browser.get("about:blank")
    page.complaints()


def test_page_that_slept_asks_anew(live: Page) -> None:
    live.ask(RECORD)
    live.command("Page.setWebLifecycleState", state="frozen")
    live.ask("const now = Date.now; Date.now = () => now() + 3 * 3600e3")
    live.command("Page.setWebLifecycleState", state="active")
    wait_until(lambda: "away for 3 h 0 min" in " ".join(live.ask("return said")), "the sleep", SECONDS)
    assert_back(live)
    assert "for 3 h 0 min" in live.text("#gap")


def test_page_from_the_browsers_memory_is_not_taken_for_new(live: Page) -> None:
    script = "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })); return sentence.textContent"
    assert "This page was away for" in live.ask(script)
    assert_back(live)


def test_reload_of_the_router_is_no_alarm(live: Page, router: RouterProcess) -> None:
    live.ask(RECORD)
    (old,) = router.worker_pids
    router.reload()
    wait_until(lambda: router.worker_pids and old not in router.worker_pids, "another worker", 20)
    live.wait_for("#workers", str(router.worker_pids[0]))
    assert [text for text in live.ask("return said") if "No word" in text] == []
