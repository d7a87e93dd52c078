"""The files for service managers and nginx are accepted by the programs that they are for."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.config import RouterConfig
from tests.docs.pages import ROOT
from tests.support.router_process import free_port

UNITS = ROOT / "docs" / "how-to" / "systemd"
SITE = ROOT / "docs" / "how-to" / "nginx" / "traffic-router.conf"

SERVICES = ("traffic-router.service", "traffic-router-blue.service", "traffic-router-green.service")

ANALYZE, NGINX = shutil.which("systemd-analyze"), shutil.which("nginx")

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


def test_blue_and_green_differ_in_their_colour_only() -> None:
    blue, green = ((UNITS / f"traffic-router-{name}.service").read_text() for name in ("blue", "green"))

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


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_accepts_the_site(tmp_path: Path) -> None:
    assert NGINX is not None
    # Another port, for 80 needs privileges or may be taken, and all files in one place.
    site = tmp_path / "site.conf"
    site.write_text(SITE.read_text(encoding="utf-8").replace("listen 80;", f"listen 127.0.0.1:{free_port()};"))
    places = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ access_log off; {places} include {site}; }}\n"
    )
    done = subprocess.run(
        [NGINX, "-t", "-e", str(tmp_path / "error.log"), "-c", str(whole)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_nginx_waits_longer_than_the_router() -> None:
    found = re.search(r"proxy_read_timeout (\d+)s;", SITE.read_text(encoding="utf-8"))

    assert found is not None
    assert int(found[1]) > RouterConfig().read_timeout
