"""One Chromium and one router for all browser tests; said clearly when there is no Chromium."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.page import Page, open_browser
from tests.browser.relay import Relay
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import ROOT, RouterProcess, running_router, write_state

NEEDED = {"chromium": "chromium", "chromedriver": "chromium-driver", "npm": "npm"}
"""Programs, and the Debian packages that bring them."""

AXE = "4.14.1"
BUILD = ROOT / "build"
SCREENSHOTS = BUILD / "screenshots"


def missing() -> list[str]:
    """The packages without which these tests cannot run."""
    return [package for program, package in NEEDED.items() if shutil.which(program) is None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says at the end, where it is read, that the browser tests were left out."""
    if missing():
        names = " ".join(missing())
        terminalreporter.section("Browser tests were left out")
        terminalreporter.write_line(f"The dashboard was not looked at in a browser. To do so: apt-get install {names}")


@pytest.fixture(scope="session")
def blue() -> Iterator[RawUpstream]:
    """What is active."""
    with RawUpstream() as running:
        yield running


@pytest.fixture(scope="session")
def green() -> Iterator[RawUpstream]:
    """What stands by."""
    with RawUpstream() as running:
        yield running


@pytest.fixture(scope="session")
def router(tmp_path_factory: pytest.TempPathFactory, blue: RawUpstream, green: RawUpstream) -> Iterator[RouterProcess]:
    """A router with one worker, blue active."""
    folder = tmp_path_factory.mktemp("dashboard")
    with running_router(folder, blue.port, health_check_interval=0.5) as running:
        write_state(running.state_file, "blue", blue=blue.port, green=green.port)
        yield running


@pytest.fixture
def relay(router: RouterProcess) -> Iterator[Relay]:
    """A way to the router that forgets."""
    running = Relay(router.port)
    yield running
    running.close()


@pytest.fixture(scope="session")
def browser_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for all tests."""
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield Page(browser)


@pytest.fixture
def page(browser_page: Page) -> Iterator[Page]:
    """The browser as at first; at the end its console must have nothing to say."""
    browser_page.look()
    browser_page.complaints()
    yield browser_page
    said = browser_page.complaints()
    browser_page.browser.get("about:blank")
    browser_page.command("Network.clearBrowserCookies")  # of every page, not only of the one that is shown
    assert said == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, from the npm registry the first time."""
    folder = BUILD / "npm"
    source = folder / "node_modules" / "axe-core" / "axe.min.js"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side, npm does not
        if not source.exists():
            command = ["npm", "install", "--prefix", str(folder), "--no-save", "--ignore-scripts"]
            command += ["--no-audit", "--no-fund", f"axe-core@{AXE}"]
            subprocess.run(command, check=True, capture_output=True, timeout=50)
    return source.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures go for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS
