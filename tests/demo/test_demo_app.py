from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.demo.demo_app import create_app

ROOT = Path(__file__).resolve().parents[2]


def client(**environ: str) -> FlaskClient:
    return create_app(environ or {"BG_VERSION": "green", "BG_RELEASE": "r7"}).test_client()


@pytest.mark.parametrize(("version", "colour"), [("blue", "#1f5fbf"), ("green", "#1c7c46"), ("", "#4a4a4a")])
def test_the_page_shows_version_release_and_colour(version: str, colour: str) -> None:
    page = client(BG_VERSION=version, BG_RELEASE="<r7>").get("/").text
    assert f"<h1>{version or 'no version'}</h1>" in page
    assert colour in page
    assert "&lt;r7&gt;" in page


def test_health_names_who_is_well() -> None:
    answer = client().get("/health")
    assert answer.status_code == 200
    assert answer.json is not None
    assert (answer.json["status"], answer.json["version"], answer.json["release"]) == ("ok", "green", "r7")


def test_a_broken_release_is_not_healthy() -> None:
    assert client(BG_RELEASE="r8-broken").get("/health").status_code == 500


def test_json_names_the_path() -> None:
    answer = client().get("/json?a=1").json
    assert answer is not None
    assert (answer["version"], answer["path"]) == ("green", "/json?a=1")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_echo_returns_what_it_received(method: str) -> None:
    body = b"x" * 200_000
    answer = client().open("/echo?q=%20", method=method, data=body, headers={"X-Mark": "here"}).json
    assert answer is not None
    assert (answer["method"], answer["path"], answer["query"]) == (method, "/echo", "q=%20")
    assert ["X-Mark", "here"] in answer["headers"]
    assert answer["body"] == {"length": 200_000, "sha256": hashlib.sha256(body).hexdigest()}


def test_slow_answers_after_the_time_asked_for() -> None:
    answer = client().get("/slow?s=0.01").json
    assert answer is not None
    assert answer["slept_s"] == 0.01


def test_events_are_numbered_server_sent_events() -> None:
    answer = client().get("/events?n=2&every=0.01")
    assert answer.mimetype == "text/event-stream"
    events = answer.text.split("\n\n")
    assert [event.split("\n")[0] for event in events[:2]] == ["id: 1", "id: 2"]
    assert '"version": "green"' in events[0]


@pytest.mark.parametrize("megabytes", [0, 1, 3])
def test_download_has_the_size_it_says(megabytes: int) -> None:
    answer = client().get(f"/download?mb={megabytes}")
    assert answer.headers["Content-Length"] == str(megabytes << 20)
    assert len(answer.data) == megabytes << 20


def test_fail_answers_with_the_status_asked_for() -> None:
    assert client().get("/fail?status=503").status_code == 503
    assert client().get("/fail").status_code == 500


@pytest.mark.parametrize(
    "path",
    [
        "/slow?s=61",
        "/slow?s=-1",
        "/slow?s=x",
        "/slow?s=nan",
        "/download?mb=1025",
        "/fail?status=200",
        "/events?n=0",
    ],
)
def test_numbers_out_of_bounds_are_refused_with_the_bounds(path: str) -> None:
    answer = client().get(path)
    assert answer.status_code == 400
    assert "expected a number from" in answer.text


def test_the_demo_imports_nothing_of_the_router() -> None:
    code = "import sys, app.demo.demo_app; print(*sorted(m for m in sys.modules if m.split('.')[0] == 'app'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["app", "app.demo", "app.demo.demo_app"]
