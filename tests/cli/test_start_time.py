"""What a switch waits for before it can begin: the modules that its process imports."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TOO_SLOW = {
    *("subprocess", "shutil", "tempfile", "random", "difflib", "threading", "logging", "tomllib", "datetime"),
    *("ssl", "asyncio", "http.client", "urllib.request", "email", "encodings.idna", "psutil", "decimal"),
    *("requests", "urllib3", "flask", "gevent", "gunicorn", "prometheus_client"),
    *(
        "app.deploy.processes.launch",
        "app.deploy.run.hooks",
        "app.deploy.judge.watching",
        "app.deploy.release.past",
        "app.deploy.processes.supervisor",
    ),
    *(
        "app.deploy.release.making",
        "app.deploy.release.remaking",
        "app.deploy.release.places",
        "app.state.releases",
        "app.state.release",
    ),
    *("app.cli.deploy_views", "app.cli.router_process", "app.dashboard", "app.routing.router"),
}
"""Each takes from a half to some ten milliseconds, and a plain switch or rollback needs none of them."""


class Healthy(BaseHTTPRequestHandler):
    """Answers every health check with 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Where two healthy versions listen that others have started."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Healthy) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    yield [server.server_port for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("words", [["switch", "green"], ["rollback"]], ids=lambda words: words[0])
def test_plain_switch_imports_nothing_that_it_can_do_without(words: list[str], home: Path, ports: list[int]) -> None:
    versions = {name: {"port": port} for name, port in zip(("blue", "green"), ports, strict=True)}
    state = {"active_version": "blue", "previous_version": "green", "versions": versions}
    (home / "bg_state.json").write_text(json.dumps(state))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environ |= {"TRAFFIC_ROUTER_STATE_FILE": str(home / "bg_state.json"), "PYTHONPROFILEIMPORTTIME": "1"}

    done = subprocess.run([ROOT / "bin" / "blue_green_deploy", *words], env=environ, capture_output=True, text=True)

    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "green is active" in done.stdout
    assert "app.deploy.deployer" in imported, "the list is one of imports"
    assert imported & TOO_SLOW == set()
