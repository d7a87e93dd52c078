"""What of the dashboard is there before anybody looks, and how its work leaves room for the traffic."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import gevent
from gevent import socket as gevent_socket

from app.dashboard.routes import Pauses
from app.settings.loading import Loaded
from app.settings.tables.router_settings import RouterConfig
from app.web import create_app
from tests.support.router_process import ROOT, write_state

LOADED = """
import sys
from pathlib import Path
from app.settings.loading import Loaded
from app.settings.tables.router_settings import RouterConfig
from app.web import create_app
folder = sys.argv[1]
app = create_app(Loaded.just(RouterConfig(state_file=f"{folder}/state.json", metrics_file=f"{folder}/metrics")))
print("app.dashboard.view" in sys.modules)
app.test_client().get("/monitoring")
print("app.dashboard.view" in sys.modules)
"""


def test_page_is_loaded_by_the_first_who_asks(tmp_path: Path) -> None:
    write_state(tmp_path / "state.json", "blue", blue=5905)
    command = [sys.executable, "-c", LOADED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]


def test_stream_asked_for_while_the_worker_stops_is_refused(tmp_path: Path) -> None:
    write_state(tmp_path / "state.json", "blue", blue=5905)
    files = {"state_file": str(tmp_path / "state.json"), "metrics_file": str(tmp_path / "metrics")}
    app = create_app(Loaded.just(RouterConfig(**files)))  # type: ignore[arg-type]  # fields by name
    try:
        app.stop()
        assert app.test_client().get("/__router_dashboard/events").status_code == 503
    finally:
        app.service.slot.close()
        app.service.metrics.close()


def work(seconds: float) -> None:
    """Takes so much CPU time."""
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


def test_pause_after_a_piece_of_work_lets_requests_in() -> None:
    pause = Pauses()
    ours, theirs = socket.socketpair()
    with ours, gevent_socket.socket(fileno=theirs.detach()) as waiting:
        request = gevent.spawn(waiting.recv, 1)
        pause()
        ours.send(b"x")
        for _ in range(3):
            work(0.002)
            pause()
        assert request.ready()


def test_little_work_is_not_interrupted() -> None:
    pause = Pauses()
    pause()
    other = gevent.spawn(int)
    pause()
    assert not other.ready()
    work(0.002)
    pause()
    assert other.ready()
