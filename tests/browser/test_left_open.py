"""The live page left open: over a reload, a restart, a network that forgets, and a night."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import missing
from tests.browser.page import Page
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import ROOT, RouterProcess, running_router
from tests.support.waiting import wait_until

if missing():
    pytest.skip(f"needs {' '.join(missing())}", allow_module_level=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, with settings of its own."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "app", root / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "gunicorn.conf.py", root)
    return root


def test_reload_with_other_settings_shows_them(page: Page, project: Path, upstream: RawUpstream) -> None:
    with running_router(project.parent / "router", upstream.port, root=project) as router:
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


class Relay:
    """Stands between the browser and the router, and can forget a stream of events without a word to its ends."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._all = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._streams: list[socket.socket] = []
        self._forgotten: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self._threads[0].start()

    def forget(self) -> None:
        """Passes nothing on any more for the streams that there are; closes what is idle."""
        self._forgotten += self._streams
        _shut(one for one in self._all[1:] if one not in self._streams)

    def close(self) -> None:
        """Ends everything."""
        _shut(self._all)
        for thread in self._threads:
            thread.join()
        for one in self._all:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._all += [near, far]
                pumps = [threading.Thread(target=self._pump, args=ends) for ends in ((near, far), (far, near))]
                self._threads += pumps
                for pump in pumps:
                    pump.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed by the other pump, or by the test
            while data := source.recv(65_536):
                if b"/events HTTP" in data:
                    self._streams += [source, target]
                if source not in self._forgotten:
                    target.sendall(data)
            if source not in self._forgotten:
                target.shutdown(socket.SHUT_WR)


def _shut(connections: Iterable[socket.socket]) -> None:
    for one in connections:
        with contextlib.suppress(OSError):  # already at its end
            one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(router: RouterProcess) -> Iterator[Relay]:
    """A way to the router that forgets."""
    running = Relay(router.port)
    yield running
    running.close()


def test_stream_that_the_network_has_forgotten_is_opened_anew(page: Page, relay: Relay) -> None:
    page.open(relay.port)
    page.wait_until_live()
    relay.forget()
    page.wait_for("#link", "No answer from the router", 15)
    page.ask("const now = Date.now; Date.now = () => now() + 30000")  # as after a long sleep
    page.wait_until_live()
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
    other = {name: text if name in ("icon", "edition", "title", "tone") else f"{text} " for name, text in frame.items()}
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
