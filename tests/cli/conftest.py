"""A home of its own for each test of a command, and a router for it to talk to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.deploy.processes.process_table import Processes
from app.state.store import StateStore
from tests.deploy.rehearsal import COMMAND
from tests.support.canned_router import CannedRouter
from tests.support.router_process import free_port


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no settings in the environment."""
    for name in os.environ:
        if name.startswith("TRAFFIC_ROUTER_") or name in ("PORT", "NO_COLOR", "LISTEN_PID"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAFFIC_ROUTER_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedRouter]:
    """A stand-in for the router, on the port that the settings name."""
    with CannedRouter() as router:
        monkeypatch.setenv("TRAFFIC_ROUTER_MAIN_PORT", str(router.port))
        yield router


@pytest.fixture
def site(home: Path) -> Iterator[Path]:
    """A home with a fast application configured and both ports free; its versions end with the test."""
    state_file = home / ".local_context" / "bg_state.json"
    state_file.parent.mkdir()
    versions = {name: {"port": free_port()} for name in ("blue", "green")}
    state_file.write_text(json.dumps({"active_version": None, "versions": versions}))
    toml = f"drain_timeout = 1\nmain_port = {free_port()}\n[app]\ncommand = {json.dumps(COMMAND)}\n"
    (home / "traffic_router.toml").write_text(toml + "start_timeout = 10\nhealth_timeout = 2\n")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield home
    for number, handler in handlers.items():
        signal.signal(number, handler)
    store = StateStore(state_file)
    with contextlib.suppress(Exception):
        for version in store.read().versions.values():
            Processes(store.folder).stop(version, 0)
