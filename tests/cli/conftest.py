"""A home of its own for each test of a command, and a router for it to talk to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.canned_router import CannedRouter


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
