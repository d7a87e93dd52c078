"""A release tried under load by real commands, on a real router: bad ones go back by themselves, a good one stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.environment import own_environment
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

APP = ROOT / "tests" / "support" / "apps" / "release_app.py"

SETTINGS = """
[router]
bind = "127.0.0.1"
main_port = {port}
workers = 2

[app]
command = "{python} {app} {{port}}"
health_path = "/health"
blue_port = {blue}
green_port = {green}
healthy_after = 1

[canary]
steps = "25%:2s 50%:2s"
warm_up = 0
bake = 0
"""


@dataclass
class Load:
    """Clients that ask without pause, and count what they get."""

    port: int
    clients: int = 6
    seen: Counter[str] = field(default_factory=Counter)
    ends: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self.threads = [threading.Thread(target=self._ask) for _ in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def _ask(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.ends.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                self.seen[f"{answer.read().decode()} {answer.status}"] += 1
            except (OSError, HTTPException):
                self.seen["nothing"] += 1
                connection.close()
        connection.close()

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        for thread in self.threads:
            thread.join(30)


@dataclass
class Site:
    """A home with settings, where commands are typed."""

    home: Path
    port: int

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._words(program, *words), env=self.environ, capture_output=True, text=True, timeout=120
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        words = tuple(self._words("blue_green_deploy", *words))
        return subprocess.Popen(words, env=self.environ, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def must(self, program: str, *words: str) -> str:
        done = self.run(program, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def environ(self) -> dict[str, str]:
        return {**own_environment(), "TRAFFIC_ROUTER_HOME": str(self.home), "TRAFFIC_ROUTER_PURE": "1"}

    def _words(self, program: str, *words: str) -> list[str]:
        return [str(ROOT / "bin" / program), *words]

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.home / ".local_context" / "bg_state.json").read_text())
        return state

    def last(self) -> dict[str, Any]:
        """The latest deploy of the history."""
        entries = json.loads(self.must("blue_green_deploy", "history", "--json"))
        return next(entry for entry in reversed(entries) if entry["operation"] == "deploy")

    def await_share(self) -> None:
        wait_until(lambda: self.state().get("split") is not None, "a share for the canary", 30)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    ports = {"port": free_port(), "blue": free_port(), "green": free_port()}
    (tmp_path / "traffic_router.toml").write_text(SETTINGS.format(python=sys.executable, app=APP, **ports))
    site = Site(tmp_path, ports["port"])
    with (tmp_path / "router.log").open("wb") as log:
        router = subprocess.Popen(
            [str(ROOT / "bin" / "traffic_router"), "start"], env=site.environ, stdout=log, stderr=log
        )
    try:
        site.must("blue_green_deploy", "start", "blue", "--release=r1")
        wait_until(lambda: answers(site.port), "the router", 30)
        yield site
    finally:
        router.terminate()
        router.wait(30)
        for name in ("blue", "green"):
            site.run("blue_green_deploy", "stop", name, "--force")


def answers(port: int) -> bool:
    with suppress(OSError), closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read() == b"good"
    return False


def test_a_good_release_has_all_the_requests_in_the_end(site: Site) -> None:
    with Load(site.port) as load:
        out = site.must("blue_green_deploy", "canary", "--release=r2")
    assert site.state()["active_version"] == "green"
    assert "🐤 green r2 has 25 %" in out
    assert "🐤 green r2 has 50 %" in out
    assert load.seen["nothing"] == 0


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("failing", "the evidence against it is enough"),
        ("slow", "the evidence against it is enough"),
        ("ending", r"it has ended \(exit status 7\)"),
        # Which of the two is first depends on how busy the machine is.
        ("hanging", "in hand and has completed none|the evidence against it is enough"),
    ],
)
def test_a_bad_release_goes_back_by_itself(site: Site, kind: str, why: str) -> None:
    with Load(site.port, 30 if kind == "hanging" else 6) as load:
        wait_until(lambda: load.seen["good 200"] > 300, "times to compare with")
        done = site.run("blue_green_deploy", "canary", f"--release=r2-{kind}", "--steps=25%:60s,50%:60s")
        assert done.returncode == 3, done.stdout + done.stderr
        assert re.search(why, done.stderr)
        seen = load.seen.copy()
        wait_until(lambda: load.seen["good 200"] > seen["good 200"] + 100, "requests at the stable version")
        assert {name: count for name, count in load.seen.items() if kind in name} == {
            name: count for name, count in seen.items() if kind in name
        }
    state = site.state()
    assert state["active_version"] == "blue"
    assert state.get("split") is None
    assert state["versions"]["green"]["status"] == ("crashed" if kind == "ending" else "stopped")
    found = site.last()
    assert found["outcome"] == "rolled back"
    if kind == "failing":
        # What clients were told is what was judged; the last second was not judged any more.
        told = found["facts"]["canary"]["canary"]
        assert told["failed"] <= load.seen["failing 500"]
        assert told["completed"] <= load.seen["failing 500"] + load.seen["failing 200"]
        assert told["completed"] > 0.5 * (load.seen["failing 500"] + load.seen["failing 200"])
        assert "above the median" in site.must("blue_green_deploy", "history", f"--show={found['number']}")
    if kind == "ending":
        assert load.seen["nothing"] + sum(count for name, count in load.seen.items() if name[-3:] == "502") <= 6


def test_a_conductor_that_is_killed_leaves_nobody_on_the_canary(site: Site) -> None:
    with Load(site.port) as load:
        command = site.begin("canary", "--release=r2-failing", "--steps=5%:300s")
        site.await_share()
        command.send_signal(signal.SIGKILL)
        command.communicate()
        told = site.must("blue_green_deploy", "canary", "status")
        assert "is gone. Its share end" in told
        until = site.state()["split"]["until"]
        wait_until(lambda: time.time() > until + 1.5, "the end of its share", 15)
        seen = load.seen.copy()
        wait_until(lambda: load.seen["good 200"] > seen["good 200"] + 300, "requests at the stable version")
        canary = {name: count for name, count in load.seen.items() if "failing" in name}
        assert canary == {name: count for name, count in seen.items() if "failing" in name}
    done = site.run("blue_green_deploy", "switch", "blue")
    assert "broke off while canary: green had a share of the requests and was stopped" in done.stdout + done.stderr
    assert site.state().get("split") is None


def test_abort_takes_the_share_away_with_the_next_request(site: Site) -> None:
    with Load(site.port) as load:
        command = site.begin("canary", "--release=r2-slow", "--steps=5%:300s")
        site.await_share()
        racing = [site.begin("canary", word) for word in ("promote", "abort")]
        for one in racing:
            one.communicate(timeout=60)
        output, _ = command.communicate(timeout=60)
        if site.state()["active_version"] == "blue":
            assert command.returncode == 3, output
            assert site.state().get("split") is None
        else:  # the promotion was done before the abort came, which has said so
            assert racing[1].returncode == 1
    assert load.seen["nothing"] == 0


def test_status_tells_how_it_stands(site: Site) -> None:
    with Load(site.port):
        command = site.begin("canary", "--release=r2", "--steps=25%:300s")
        site.await_share()
        wait_until(lambda: "requests failed" in site.must("blue_green_deploy", "canary", "status"), "a sentence", 20)
        known = json.loads(site.must("blue_green_deploy", "canary", "status", "--json"))
        assert known["split"]["weight"] == 2500
        assert known["rollout"]["is_conducted"] is True
        assert known["rollout"]["steps"] == [2500]
        scrape = requests.get(f"http://127.0.0.1:{site.port}/__router_metrics?format=prometheus", timeout=10).text
        assert 'traffic_router_version_share{version="green"} 0.25' in scrape
        assert "traffic_router_canary_evidence_needed 100.0" in scrape
        page = requests.get(f"http://127.0.0.1:{site.port}/monitoring", timeout=10).text
        assert "100: goes back" in page and "Canary, 25 %" in page
        os.kill(command.pid, signal.SIGINT)
        output, _ = command.communicate(timeout=60)
    assert site.state().get("split") is None, output
    assert "No version has a share" in site.must("blue_green_deploy", "canary", "status")
