"""Versions whose backends others run: gated and switched to as one, and neither started nor stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import ROOT

UNWELL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Site:
    """A deployment whose two versions have two backends each."""

    home: Path
    backends: list[RawUpstream]

    def run(self, *words: str, program: str = "blue_green_deploy") -> subprocess.CompletedProcess[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TRAFFIC_ROUTER_")}
        environ["TRAFFIC_ROUTER_HOME"] = str(self.home)
        command = [sys.executable, str(ROOT / "bin" / program), *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)

    def must(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def active(self) -> object:
        return json.loads((self.home / ".local_context" / "bg_state.json").read_text())["active_version"]

    def settings(self, blue: list[str], green: list[str]) -> None:
        text = f"[app]\nhealthy_after = 1\n[backends]\nblue = {json.dumps(blue)}\ngreen = {json.dumps(green)}\n"
        (self.home / "traffic_router.toml").write_text(text)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        backends = [stack.enter_context(RawUpstream()) for _ in range(4)]
        site = Site(tmp_path, backends)
        places = [f"127.0.0.1:{backend.port}" for backend in backends]
        site.settings(places[:2], places[2:])
        yield site


def test_deploy_gates_every_backend_and_switches(site: Site) -> None:
    assert "blue is active" in site.must("switch", "blue")
    said = site.must("deploy")
    assert said.count("✅ green is healthy") == 2
    assert f"go to port {site.backends[2].port} and 1 more" in said
    assert site.active() == "green"
    site.must("rollback")
    assert site.active() == "blue"
    assert all(backend.probes for backend in site.backends)


def test_backend_that_is_not_well_is_named_and_nothing_changes(site: Site) -> None:
    site.must("switch", "blue")
    site.backends[3].probe_answer = UNWELL
    done = site.run("deploy")
    assert done.returncode == 3
    assert f"green on port {site.backends[3].port} is not healthy: status 503" in done.stderr
    assert site.active() == "blue"


def test_each_backend_is_shown(site: Site) -> None:
    site.must("switch", "blue")
    site.backends[1].probe_answer = UNWELL
    done = site.run("health-check", "blue")
    assert done.returncode == 3
    assert f"✅ blue on port {site.backends[0].port}: HEALTHY" in done.stdout
    assert f"❌ blue on port {site.backends[1].port}: UNHEALTHY" in done.stdout
    found = json.loads(site.run("health-check", "--json").stdout)["blue"]
    assert found["ok"]
    assert [one["ok"] for one in found["backends"]] == [True, False]
    status = site.run("status").stdout
    assert "(active): HEALTHY" in status
    assert f"❌ 127.0.0.1:{site.backends[1].port}: status 503" in status
    shown = json.loads(site.run("status", "--json").stdout)["versions"]["green"]
    assert shown["backends"] == [f"127.0.0.1:{backend.port}" for backend in site.backends[2:]]


def test_single_backend_is_told_by_its_address_whatever_its_port(site: Site) -> None:
    site.settings([], ["127.0.0.2:5006"])
    (site.home / ".local_context").mkdir()
    (site.home / ".local_context" / "bg_state.json").write_text('{"active_version": "green"}')
    assert "   At: 127.0.0.2:5006\n" in site.run("status").stdout


@pytest.mark.parametrize(
    "words", [("start", "blue"), ("stop", "blue"), ("restart", "blue"), ("deploy", "--release=r2"), ("run", "blue")]
)
def test_what_others_run_is_neither_started_nor_stopped(site: Site, words: tuple[str, ...]) -> None:
    done = site.run(*words)
    assert done.returncode == 1
    assert "is run by others, at 127.0.0.1:" in done.stderr
    assert "switch" in done.stderr


def test_all_faults_are_told_at_once(site: Site) -> None:
    site.settings(["shop.internal:80", "10.0.0.7:80", "10.0.0.7:80 weight=0"], ["unix:shop.sock"])
    done = site.run("status")
    assert done.returncode == 2
    for said in ("blue = ", "green = ", "2 settings are not usable"):
        assert said in done.stderr
    site.settings(["10.0.0.7:80", "10.0.0.7:80"], ["10.0.0.7:80"])
    done = site.run("status")
    assert done.returncode == 2
    assert "10.0.0.7:80 is named twice" in done.stderr
    assert "10.0.0.7:80 cannot be both" in done.stderr
    site.settings([f"10.0.0.{number}:80" for number in range(1, 18)], [])
    assert "at most 16" in site.run("status").stderr
