"""The dashboard as an operator sees it: a real Chromium, a real router, real traffic."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.state.model import promote
from app.state.store import StateStore
from tests.browser.conftest import missing
from tests.browser.page import Page
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

if missing():
    pytest.skip(f"needs {' '.join(missing())}", allow_module_level=True)

GET = b"GET /work HTTP/1.1\r\nHost: x.test\r\n\r\n"
EVENTS = b"GET /__router_dashboard/events HTTP/1.1\r\nHost: x.test\r\n\r\n"

INK_OF_GREEN = "rgb(17, 120, 63)"
PAPER = {"light": "rgb(244, 245, 247)", "dark": "rgb(14, 17, 22)"}


def switch(router: RouterProcess, version: str) -> None:
    """Switches as the deploy command does."""
    store = StateStore(router.state_file)
    with store.lock("test", 5):
        store.write(promote(store.read(), version, time.time()))


def test_first_paint_needs_no_script(page: Page, router: RouterProcess, screenshots: Path) -> None:
    page.look(scripts=False)
    page.open(router.port)
    assert "Blue serves all traffic." in page.text("h1")
    assert "Active" in page.text("#card-blue")
    assert page.ask("return document.querySelectorAll('svg.plot .grid').length") >= 8
    assert page.text("#link") == "Refreshed every 5 s"
    page.picture(screenshots / "without-script.png")


def test_without_script_the_page_refreshes_itself(page: Page, router: RouterProcess) -> None:
    page.look(scripts=False)
    page.open(router.port)
    first = page.ask("return performance.timeOrigin")
    wait_until(lambda: page.ask("return performance.timeOrigin") > first, "another page", 15)


def test_traffic_shows_without_loading_the_page_again(page: Page, router: RouterProcess, screenshots: Path) -> None:
    page.open(router.port)
    page.wait_until_live()
    before = int(page.ask("return document.querySelector('#workers td:nth-child(4)').innerText.replace(',', '')"))
    with router.connect() as client:
        for _ in range(40):
            client.ask(GET)
    page.wait_for("#workers td:nth-child(4)", f"{before + 40:,}")
    wait_until(lambda: page.ask("return !!document.querySelector('#short-requests path.fill.blue')"), "its area", 10)
    page.picture(screenshots / "traffic.png")


@pytest.mark.alone
def test_switch_appears_within_two_seconds_with_its_mark(
    page: Page, router: RouterProcess, green: RawUpstream, screenshots: Path
) -> None:
    page.open(router.port)
    page.wait_until_live()
    flags = "return document.querySelectorAll('#short-flags .flag.switch.green').length"
    before = int(page.ask(flags))
    switch(router, "green")
    wait_until(lambda: "Switched to green" in page.text("h1") and page.ask(flags) == before + 1, "the switch", 2.0)
    assert "Active" in page.text("#card-green .role")
    assert page.text("#card-blue .role") == "Standby"
    assert page.browser.title.startswith("Green")
    assert "icon-green" in page.ask("return document.querySelector('#icon').href")
    assert "Switched to green" in page.ask("return document.querySelector('#spoken').textContent")
    page.picture(screenshots / "switched.png")
    switch(router, "blue")


def test_a_deploy_fits_on_one_screen(page: Page, router: RouterProcess) -> None:
    page.look(1280, 800)
    page.open(router.port)
    bottom = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom"
    assert float(page.browser.execute_script(bottom, ".stage")) < 700
    assert float(page.browser.execute_script(bottom, "#in-flight tr")) < 800


@pytest.mark.parametrize("system", ["light", "dark"])
def test_theme_follows_the_system_and_the_button(
    page: Page, router: RouterProcess, screenshots: Path, system: str
) -> None:
    other = "light" if system == "dark" else "dark"
    page.look(dark=system == "dark")
    page.open(router.port)
    assert page.colour("body") == PAPER[system]
    page.picture(screenshots / f"{system}.png")
    page.ask("document.querySelector('#theme').click()")
    assert page.colour("body") == PAPER[other]
    page.open(router.port)
    assert page.colour("body") == PAPER[other]
    page.ask("document.querySelector('#theme').click()")
    assert page.colour("body") == PAPER[system]
    assert page.ask("return document.cookie") == ""


@pytest.mark.parametrize("by", ["system", "button"])
def test_paper_is_white_whatever_the_theme(page: Page, router: RouterProcess, by: str) -> None:
    page.look(dark=by == "system")
    page.open(router.port)
    if by == "button":
        page.ask("document.querySelector('#theme').click()")
    assert page.colour("body") == PAPER["dark"]
    page.command("Emulation.setEmulatedMedia", media="print")
    assert page.colour("body") == "rgb(255, 255, 255)"
    wait_until(lambda: page.colour("#card-green h2", "color") == INK_OF_GREEN, "the ink of paper")
    page.command("Emulation.setEmulatedMedia", media="")


def test_keyboard_reaches_everything_and_reads_the_charts(page: Page, router: RouterProcess) -> None:
    page.open(router.port)
    page.wait_until_live()
    page.press("Tab")
    assert page.focused() == "skip"
    stops = []
    while page.focused() != "axis":
        page.press("Tab")
        stops.append(page.focused())
        assert len(stops) < 40, stops
    assert "theme" in stops
    assert sum("Table" in stop for stop in stops) == 4
    page.press("Home")
    wait_until(lambda: page.ask("return !!document.querySelector('.short[data-pointed]')"), "the cursor")
    first = page.ask("return document.activeElement.getAttribute('aria-valuetext')")
    assert "requests: blue" in first
    page.press("ArrowRight")
    wait_until(lambda: page.ask("return document.activeElement.getAttribute('aria-valuetext')") != first, "a step")
    page.press("Escape")
    assert page.ask("return document.querySelector('.short .cursor').hidden")


def test_pointer_reads_all_charts_at_once(page: Page, router: RouterProcess, screenshots: Path) -> None:
    page.open(router.port)
    page.wait_until_live()
    box = page.ask(
        "const b = document.querySelector('#short-latency').getBoundingClientRect(); return [b.x, b.y, b.width]"
    )
    page.command("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + box[2] / 2, y=box[1] + 20)
    wait_until(lambda: page.text(".short .cursor-time"), "the cursor's time")
    assert "blue" in page.text("#short-requests-now")
    page.picture(screenshots / "pointed.png")


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(1280, False, id="light"),
        pytest.param(1280, True, id="dark"),
        pytest.param(390, False, id="phone"),
    ],
)
def test_axe_finds_nothing(page: Page, router: RouterProcess, axe: str, width: int, dark: bool) -> None:
    page.look(width, dark=dark)
    page.open(router.port)
    page.wait_until_live()
    page.ask("document.querySelectorAll('details').forEach((one) => { one.open = !one.closest('.panel'); })")
    page.ask(axe)
    script = (
        "const done = arguments[0]; axe.run().then((found) => done(found.violations), (error) => done(String(error)))"
    )
    violations = page.browser.execute_async_script(script)
    assert [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in violations] == []


@pytest.mark.parametrize("width", [320, 390, 640])
def test_nothing_sticks_out_on_a_small_screen(page: Page, router: RouterProcess, screenshots: Path, width: int) -> None:
    page.look(width, 800)
    page.open(router.port)
    page.wait_until_live()
    assert page.ask("return document.documentElement.scrollWidth") <= width
    page.picture(screenshots / f"width-{width}.png")


def test_stream_ends_with_its_worker_and_finds_the_next(page: Page, router: RouterProcess) -> None:
    page.open(router.port)
    page.wait_until_live()
    (old,) = router.worker_pids
    began = time.monotonic()
    router.reload()
    wait_until(lambda: router.worker_pids and old not in router.worker_pids, "another worker", 20)
    assert time.monotonic() - began < 10, "the stream held the old worker"
    page.wait_for("#workers", str(router.worker_pids[0]))
    page.wait_until_live()
    # The browser may have knocked in the moment between the two workers.
    page.complaints()


def test_refused_stream_falls_back_to_asking(page: Page, router: RouterProcess) -> None:
    with ExitStack() as viewers:
        for _ in range(32):
            viewer = viewers.enter_context(RawClient(router.port))
            viewer.send(EVENTS)
            viewer.read_head()
        page.open(router.port)
        page.wait_for("#link", "Live, every 2 s")
        page.browser.get("about:blank")
        refusals = page.complaints()
        assert refusals
        assert all("503" in refusal for refusal in refusals)
    # That they have gone shows when the next frame is sent to them; the next test's page wants a stream.
    wait_until(lambda: _status_of_stream(router) == 200, "room for a stream")


def _status_of_stream(router: RouterProcess) -> int:
    with RawClient(router.port) as viewer:
        viewer.send(EVENTS)
        return int(viewer.read_head().start_line.split()[1])
