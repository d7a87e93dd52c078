"""The documented Python interface: `TrafficRouter` and `RouterConfig`, imported as the documentation does.

`python3 tests/test_traffic_router.py` runs it with the project's own Python.
"""

import os
import subprocess
import sys

if __name__ == "__main__":
    # Before the imports below, which the python3 that was typed may not have.
    here = os.path.realpath(__file__)
    root = os.path.dirname(os.path.dirname(here))
    if subprocess.run(["make", "--silent", "--directory", root, ".venv/.ready-dev"]).returncode:
        sys.exit(1)
    python = os.path.join(root, ".venv", "bin", "python")
    os.execv(python, [python, "-m", "pytest", here, *sys.argv[1:]])

import json
from pathlib import Path

import pytest
import requests
import responses

from app.errors import NoActiveVersion
from app.operator_errors import ConfigError
from tests.support.raw_upstream import RawUpstream
from utils.traffic_router import RouterConfig, TrafficRouter

ROOT = Path(__file__).resolve().parents[1]


def state_file(folder: Path, active: str | None, **ports: int) -> str:
    """A state file as an operator may write it by hand."""
    path = folder / "bg_state.json"
    path.write_text(
        json.dumps({"active_version": active, "versions": {name: {"port": port} for name, port in ports.items()}})
    )
    return str(path)


@pytest.fixture
def traffic_router(tmp_path: Path) -> TrafficRouter:
    """A router whose active version is blue on its usual port."""
    return TrafficRouter(RouterConfig(state_file=state_file(tmp_path, "blue"), read_timeout=2))


def test_documented_construction(tmp_path: Path) -> None:
    config = RouterConfig(
        main_port=5004,
        state_file=state_file(tmp_path, "blue"),
        read_timeout=30,
        connection_timeout=5,
        metrics_enabled=True,
    )

    assert TrafficRouter(config).get_active_port() == 5005


def test_unusable_config_names_every_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        RouterConfig(main_port=70_000, read_timeout=-1)

    assert "main_port = 70000" in str(caught.value)
    assert "read_timeout = -1" in str(caught.value)


@pytest.mark.parametrize(("active", "port"), [("blue", 5005), ("green", 5006)])
def test_active_port_is_that_of_the_active_version(tmp_path: Path, active: str, port: int) -> None:
    assert TrafficRouter(RouterConfig(state_file=state_file(tmp_path, active))).get_active_port() == port


def test_port_in_the_state_file_wins(tmp_path: Path) -> None:
    config = RouterConfig(state_file=state_file(tmp_path, "green", green=6106))

    assert TrafficRouter(config).get_active_port() == 6106


def test_switch_holds_for_the_next_call(tmp_path: Path, traffic_router: TrafficRouter) -> None:
    assert traffic_router.get_active_port() == 5005

    state_file(tmp_path, "green")

    assert traffic_router.get_active_port() == 5006


def test_no_active_version_is_said(tmp_path: Path) -> None:
    router = TrafficRouter(RouterConfig(state_file=str(tmp_path / "none.json")))

    with pytest.raises(NoActiveVersion):
        router.get_active_port()
    status, headers, body = router.proxy_request(method="GET", path="/", headers={"Host": "example.com"}, body=None)
    assert (status, headers["Content-Type"], body) == (
        503,
        "text/plain; charset=utf-8",
        b"No active backend available",
    )


def test_documented_request(traffic_router: TrafficRouter, double: responses.RequestsMock) -> None:
    double.get("http://127.0.0.1:5005/api/data", json={"colour": "blue"}, headers={"X-App": "1"})

    status, headers, body = traffic_router.proxy_request(
        method="GET", path="/api/data", headers={"Host": "example.com"}, body=None
    )

    assert status == 200
    assert headers["X-App"] == "1"
    assert json.loads(body) == {"colour": "blue"}


@pytest.mark.parametrize("status", [201, 302, 404, 500])
def test_status_of_the_version_is_passed_on(
    traffic_router: TrafficRouter, double: responses.RequestsMock, status: int
) -> None:
    double.get("http://127.0.0.1:5005/", status=status, headers={"Location": "/elsewhere"}, body="x")

    assert traffic_router.proxy_request("GET", "/", {"Host": "example.com"})[0] == status
    assert len(double.calls) == 1  # no redirect is followed


def test_bytes_that_the_version_receives(tmp_path: Path) -> None:
    with RawUpstream() as upstream:
        config = RouterConfig(state_file=state_file(tmp_path, "blue", blue=upstream.port))
        status, _, body = TrafficRouter(config).proxy_request(
            "PATCH",
            "/a/../b?q=%7e",
            {"Host": "example.com", "Keep-Alive": "timeout=5", "Cookie": "a=1"},
            b"body",
        )
        seen = upstream.only

    assert (status, body) == (200, b"ok")
    assert (seen.method, seen.target, seen.body) == (b"PATCH", b"/a/../b?q=%7e", b"body")
    assert seen.head.value(b"Host") == b"example.com"
    assert seen.head.value(b"X-Forwarded-Host") == b"example.com"
    assert seen.head.value(b"Cookie") == b"a=1"
    assert seen.head.value(b"Keep-Alive") is None


def test_refused_connection_is_a_bad_gateway(tmp_path: Path) -> None:
    with RawUpstream() as upstream:
        port = upstream.port
    router = TrafficRouter(RouterConfig(state_file=state_file(tmp_path, "blue", blue=port)))

    status, _, body = router.proxy_request("GET", "/", {"Host": "example.com"})

    assert (status, body) == (502, b"Bad gateway")


def test_plain_python_needs_no_gevent(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from utils.traffic_router import RouterConfig, TrafficRouter\n"
        f"router = TrafficRouter(RouterConfig(state_file={state_file(tmp_path, 'green')!r}))\n"
        "print(router.get_active_port(), 'gevent' in sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "5006 False\n"


def test_this_file_runs_by_itself() -> None:
    done = subprocess.run(
        ["python3", "tests/test_traffic_router.py", "-q", "--no-cov", "-k", "active_port"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_sessions_are_those_of_requests(traffic_router: TrafficRouter) -> None:
    assert isinstance(traffic_router.session(5005), requests.Session)
    assert traffic_router.session(5005) is traffic_router.session(5005)
    assert traffic_router.session(5005) is not traffic_router.session(5006)
