"""An application that listens on another loopback address than the usual one, from its start to its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.raw_client import RawClient
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until


def run(home: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of our commands in a home of its own."""
    environ = os.environ | {"TRAFFIC_ROUTER_HOME": str(home), "NO_COLOR": "1"}
    command = [sys.executable, str(ROOT / "bin" / program), *arguments]
    return subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True, timeout=60)


@pytest.fixture
def site(home: Path) -> Iterator[tuple[Path, int]]:
    """A home whose application listens on the address alone; and the router's port."""
    main, blue, green = free_port(), free_port(), free_port()
    (home / "traffic_router.toml").write_text(
        f'main_port = {main}\nbind = "127.0.0.1"\nworkers = 1\nhealth_check_interval = 0.2\n[app]\n'
        'address = "::1"\nhealth_path = "/"\n'
        f'command = "{sys.executable} -m http.server --bind {{address}} {{port}}"\n'
    )
    (home / ".local_context").mkdir()
    versions = {"blue": {"port": blue}, "green": {"port": green}}
    state = {"active_version": None, "versions": versions}
    (home / ".local_context" / "bg_state.json").write_text(json.dumps(state))
    try:
        yield home, main
    finally:
        run(home, "traffic_router", "stop")
        run(home, "blue_green_deploy", "stop", "blue", "--force")


def test_application_on_another_loopback_address_is_started_checked_and_reached(site: tuple[Path, int]) -> None:
    home, port = site
    started = run(home, "blue_green_deploy", "start", "blue")
    assert started.returncode == 0, started.stderr
    assert run(home, "blue_green_deploy", "switch", "blue").returncode == 0
    assert run(home, "traffic_router", "start", "--daemon").returncode == 0
    for line in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        with RawClient(port) as client:
            assert client.ask(line).status == 200
    report = wait_until(lambda: health(port), "a healthy report")
    assert report["active_version"] == "blue"
    tested = run(home, "traffic_router", "test")
    assert tested.returncode == 0, tested.stdout


def health(port: int) -> dict[str, object] | None:
    with RawClient(port) as client:
        answer = client.ask(b"GET /__router_health HTTP/1.1\r\nHost: x\r\n\r\n")
    found: dict[str, object] = json.loads(answer.body)
    return found if found["status"] == "healthy" else None


def test_start_of_an_application_on_the_other_family_names_the_setting(home: Path) -> None:
    (home / "traffic_router.toml").write_text(
        f'[app]\nhealth_path = "/"\nstart_timeout = 1\nhealth_timeout = 1\n'
        f'command = "{sys.executable} -m http.server --bind ::1 {{port}}"\n'
    )
    (home / ".local_context").mkdir()
    ports = {"blue": {"port": free_port()}, "green": {"port": free_port()}}
    (home / ".local_context" / "bg_state.json").write_text(json.dumps({"active_version": None, "versions": ports}))
    failed = run(home, "blue_green_deploy", "start", "blue")
    assert failed.returncode != 0
    assert '[app] address = "::1"?' in failed.stderr + failed.stdout
