"""The live page left open: over a reload, a restart, a network that forgets, and a night."""

from __future__ import annotations

import json
import urllib.request
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


def test_reload_with_other_settings_shows_them(page: Page, project: Path, blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, root=project) as router:
        page.open(router.port)
        page.wait_until_live()
        setting = "return document.querySelector('.settings .given')?.closest('tbody').textContent"
        assert "29.5" not in page.ask(setting)
        (project / "traffic_router.toml").write_text("read_timeout = 29.5\n")
        router.reload()
        wait_until(lambda: "29.5" in page.ask(setting), "the new setting", 30)
        page.wait_until_live()
        page.browser.get("about:blank")
        page.complaints()  # the browser may have knocked in the moment between the two workers


def test_stream_that_the_network_has_forgotten_is_opened_anew(page: Page, relay: Relay) -> None:
    page.open(relay.port)
    page.wait_until_live()
    relay.forget()
    wait_until(lambda: relay.streams == 2, "another stream", 20)
    page.wait_until_live()
    assert page.text("#gap") == ""  # it had asked all the while
    page.browser.get("about:blank")


FED_BY_HAND = """
window.EventSource = class {
  static CLOSED = 2; static OPEN = 1;
  constructor() { this.readyState = 1; window.feed = (frame) => this.onmessage({ data: JSON.stringify(frame) }); }
  close() {}
};
"""

A_NIGHT = """
const [first, second, rounds] = arguments;
for (let i = 0; i < rounds; i++) feed(i % 2 ? first : second);
return document.querySelector("#sentence").textContent;
"""


def test_thousands_of_updates_leave_nothing_behind(page: Page, router: RouterProcess) -> None:
    script = page.command("Page.addScriptToEvaluateOnNewDocument", source=FED_BY_HAND)
    try:
        page.open(router.port)
    finally:
        page.command("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
    with urllib.request.urlopen(f"http://127.0.0.1:{router.port}/__router_dashboard/frame") as answer:
        frame = json.load(answer)
    other = {
        name: text if name in ("icon", "edition", "title", "tone", "at") else f"{text} " for name, text in frame.items()
    }
    page.command("Performance.enable")

    def left() -> dict[str, float]:
        page.command("HeapProfiler.collectGarbage")
        return {one["name"]: one["value"] for one in page.command("Performance.getMetrics")["metrics"]}

    page.ask(A_NIGHT, frame, other, 200)
    before = left()
    assert page.ask(A_NIGHT, frame, other, 4000).strip() == frame["sentence"].strip()
    after = left()
    assert after["Nodes"] <= before["Nodes"] * 1.1
    assert after["JSEventListeners"] <= before["JSEventListeners"]
    assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] * 1.5
