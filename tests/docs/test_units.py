"""The units are accepted by systemd, allow little, and run what is there."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings.tables.app_settings import AppConfig
from app.settings.tables.router_settings import RouterConfig
from tests.docs.pages import ROOT
from tests.support.raw_client import RawClient
from tests.support.router_process import free_port, write_state
from tests.support.waiting import wait_until

UNITS = ROOT / "docs" / "how-to" / "systemd"

TEMPLATES = ("traffic-router-blue@.service", "traffic-router-green@.service")
AGENT = "traffic-router-agent.service"
SERVICES = ("traffic-router.service", "traffic-router-blue.service", "traffic-router-green.service", *TEMPLATES, AGENT)

ANALYZE, ACTIVATE = shutil.which("systemd-analyze"), shutil.which("systemd-socket-activate")

MOST_EXPOSURE = 25
"""Of 100, as `systemd-analyze security` counts: 0 is a service that can do nothing."""


def unit(name: str) -> configparser.ConfigParser:
    """A unit file's sections; none of ours has a key twice."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep capitals
    parser.read_string((UNITS / name).read_text(encoding="utf-8"))
    return parser


def seconds(name: str, key: str) -> float:
    return float(unit(name)["Service"][key])


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed (Debian: systemd)")
def test_systemd_accepts_the_units() -> None:
    assert ANALYZE is not None
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", *(str(path) for path in sorted(UNITS.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed (Debian: systemd)")
@pytest.mark.parametrize("name", SERVICES)
def test_services_may_do_little(name: str) -> None:
    assert ANALYZE is not None
    command = [ANALYZE, "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager", str(UNITS / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("name", SERVICES)
def test_services_run_commands_that_exist(name: str) -> None:
    folder = unit(name)["Service"]["WorkingDirectory"]
    _, script, *_ = unit(name)["Service"]["ExecStart"].split()

    assert (ROOT / Path(script).relative_to(folder)).is_file()
    assert unit(name)["Unit"]["Documentation"] == f"file:{folder}/docs/how-to/run-under-systemd.md"


def test_router_has_time_to_finish_its_requests() -> None:
    assert seconds("traffic-router.service", "TimeoutStopSec") > RouterConfig().graceful_timeout


@pytest.mark.parametrize("name", TEMPLATES)
def test_process_of_several_has_time_for_the_requests_that_it_has(name: str) -> None:
    assert seconds(name, "TimeoutStopSec") > RouterConfig().drain_timeout + AppConfig().stop_timeout
    assert unit(name)["Service"]["ExecStart"].endswith(" --instance=%i")


@pytest.mark.parametrize("end", ["", "@"])
def test_blue_and_green_differ_in_their_colour_only(end: str) -> None:
    blue, green = ((UNITS / f"traffic-router-{name}{end}.service").read_text() for name in ("blue", "green"))

    assert blue.replace("blue", "green") == green.replace("blue", "green")


def test_services_are_confined_alike() -> None:
    confined = {
        tuple(
            re.findall(r"^# What the service may not do\..*?(?=^\[Install\])", (UNITS / name).read_text(), re.M | re.S)
        )
        for name in SERVICES
    }

    assert len(confined) == 1
    assert len(confined.pop()) == 1


def test_socket_is_the_port_that_the_router_expects() -> None:
    config = RouterConfig()

    assert unit("traffic-router.socket")["Socket"]["ListenStream"] == f"{config.bind}:{config.main_port}"


@pytest.mark.skipif(ACTIVATE is None, reason="systemd-socket-activate is not installed (Debian: systemd)")
def test_router_serves_the_socket_that_systemd_has_opened(tmp_path: Path) -> None:
    assert ACTIVATE is not None
    port = free_port()
    write_state(tmp_path / "bg_state.json", None)
    settings = {"MAIN_PORT": port, "WORKERS": 1, "STATE_FILE": tmp_path / "bg_state.json", "GRACEFUL_TIMEOUT": 5}
    environment = os.environ | {f"TRAFFIC_ROUTER_{name}": str(value) for name, value in settings.items()}
    passed_on = [f"--setenv={name}" for name in environment if name == "PATH" or name.startswith("TRAFFIC_ROUTER_")]
    command = [ACTIVATE, f"--listen=127.0.0.1:{port}", *passed_on, sys.executable, "bin/traffic_router", "start"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: b"Listening on" in (tmp_path / "log").read_bytes(), "systemd's socket")
        with RawClient(port) as client:  # the connection that starts the router, and waits for it
            answer = client.ask(b"GET /__router_health HTTP/1.1\r\nHost: r\r\n\r\n")
    finally:
        process.terminate()
        process.wait(30)

    assert answer.status == 503
    assert b"No version is active" in answer.body
