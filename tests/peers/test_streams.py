"""Answers that stream, taken by the clients that people use, through everything that a deployment goes through."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from selenium import webdriver

from tests.browser.conftest import missing
from tests.browser.page import open_browser
from tests.peers.peers import PEERS_PYTHON
from tests.soak.site import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

HERE = Path(__file__).resolve().parent
SETTINGS = f"""\
main_port = {{port}}
bind = "127.0.0.1"
workers = {{workers}}
access_log = ".local_context/access.jsonl"
drain_timeout = 60
graceful_timeout = 60
handover_window = 1

[app]
command = "{PEERS_PYTHON} -m uvicorn --port {{{{port}}}} --timeout-graceful-shutdown 30 streaming_app:app"
dir = "{HERE}"
start_timeout = 90
stop_timeout = 40
env = {{{{ SOAK_FOLDER = "{{folder}}", STREAMS_END = "{{folder}}/end", GRADIO_ANALYTICS_ENABLED = "False" }}}}
"""
KINDS = ("openai", "mcp", "gradio")
EVENTS = {
    "switch": ("blue_green_deploy", "switch"),
    "rollback": ("blue_green_deploy", "rollback"),
    "deploy --stop-old": ("blue_green_deploy", "deploy", "--stop-old"),
    "reload": ("traffic_router", "reload"),
    "upgrade": ("traffic_router", "upgrade"),
}
"""Each a command; `switch` gets its version, `deploy` a release."""

RELEASES = count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both versions, and a router with two workers before them."""
    site = Site(tmp_path_factory.mktemp("streams"), 2, SETTINGS)
    try:
        site.open()
        site.router("start", "--daemon")
        site.run("blue_green_deploy", "switch", site.standby)  # whichever test is first may go back
        yield site
    finally:
        site.close()


@pytest.fixture
def site(shared: Site) -> Site:
    """The same, both versions running: a deploy has stopped one of them."""
    if shared.noted(shared.state_file)["versions"][shared.standby]["status"] == "stopped":
        shared.deploy("start", shared.standby, f"--release=r{next(RELEASES)}")
    return shared


def begin(site: Site, kind: str) -> subprocess.Popen[str]:
    """A client whose answer has begun once it has said so."""
    command: list[str | Path] = [PEERS_PYTHON, HERE / "stream_client.py", kind, f"http://127.0.0.1:{site.port}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def receipt(site: Site) -> dict[str, Any]:
    """What the last command's receipt says of the version that it took the traffic from."""
    last = site.asked("history", "--limit=1")[-1]
    versions: dict[str, dict[str, Any]] = last["facts"]["receipt"]["versions"]
    return versions[site.standby]


def workers(site: Site) -> set[int]:
    """The pids of the router's workers, of those too that are about to end."""
    with site.metrics() as metrics:
        return {worker.pid for worker in metrics.snapshot().workers}


def command(site: Site, event: str) -> tuple[str, ...]:
    more = {"switch": (site.standby,), "deploy --stop-old": (f"--release=r{next(RELEASES)}",)}
    return (*EVENTS[event], *more.get(event, ()))


@pytest.mark.parametrize("event", EVENTS)
def test_what_streams_to_openai_mcp_and_gradio_is_whole(site: Site, event: str) -> None:
    may_end = site.folder / "end"
    may_end.unlink(missing_ok=True)
    with ExitStack() as stack:
        clients = {kind: begin(site, kind) for kind in KINDS}
        for client in clients.values():
            stack.callback(client.wait)
            stack.callback(client.kill)
        for kind, client in clients.items():
            assert client.stdout is not None
            assert client.stdout.readline() == "begun\n", kind
        before = site.active, workers(site)
        running = site.begin(*command(site, event))
        stack.callback(running.kill)
        wait_until(lambda: site.active != before[0] or workers(site) - before[1], event, 90)
        sleep(3)  # past all that `handover_window` would end
        may_end.touch()
        got = {kind: json.loads(client.communicate(timeout=60)[0]) for kind, client in clients.items()}
        site.end(running, event)
    for kind, parts in got.items():
        assert parts == [*map(str, range(len(parts) - 1)), "done"], kind
    if event == "deploy --stop-old":
        old = receipt(site)
        assert (old["cut"], old["streams"]["cut"], old["in_flight"]) == (0, 0, 0)
        assert old["streams"]["finished"] >= len(KINDS)


@pytest.mark.skipif(bool(missing()), reason=f"needs {' '.join(missing())}")
@pytest.mark.parametrize("event", EVENTS)
def test_event_source_of_a_browser_comes_back(site: Site, browser: webdriver.Chrome, event: str) -> None:
    def seen() -> set[str]:
        return set(browser.execute_script("return seen.splice(0)"))

    def pid_of_active() -> str:
        return str(site.pid_of(site.active))

    browser.get(f"http://127.0.0.1:{site.port}/page")
    wait_until(lambda: pid_of_active() in seen(), "the first news")
    site.run(*command(site, event))
    wait_until(lambda: browser.execute_script("return opens") > 1, "its coming back", 10)
    seen()
    wait_until(lambda: seen() == {pid_of_active()}, "the news of the active version alone")
    if event == "deploy --stop-old":
        old = receipt(site)
        assert (old["streams"]["handed_over"], old["cut"]) == (1, 0)
