"""The installed commands: a life of a deployment, in a folder with whatever a user has there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import __version__
from tests.package.home import Home
from tests.support.installed import Installed

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def home(installed: Installed, tmp_path: Path) -> Iterator[Home]:
    found = Home(installed, tmp_path / "the shop")
    yield found
    found.end()


def test_deployment_lives_where_its_commands_are_typed(home: Home) -> None:
    assert home.must("traffic_router", "--version") == f"traffic_router {__version__}, pure Python\n"
    assert re.search(rf"main_port +{home.port} +traffic_router.toml", home.must("traffic_router", "config"))
    started = home.must("blue_green_deploy", "start", "blue")
    assert "unless the router starts by itself: traffic_router start\n" in started
    home.must("traffic_router", "start", "--daemon")
    deployed = home.must("blue_green_deploy", "deploy", "--release=r2")
    assert "Back to it: blue_green_deploy rollback\n" in deployed
    version, release, path = home.ask().split(" ", 2)
    assert (version, release) == ("green", "r2")
    assert str(home.installed.bin) in path, "the environment may be the application's own"
    assert "logs green\n" in home.must("blue_green_deploy", "rollback")
    assert home.ask().startswith("blue ")
    home.must("traffic_router", "test")
    for word in ("reload", "upgrade"):
        assert "✅ Router" in home.must("traffic_router", word)
        assert home.ask().startswith("blue ")
    assert "MONITOR" in home.ask("/monitoring").upper()
    assert "✅ Router stopped" in home.must("traffic_router", "stop")
    assert "🛑 green stopped" in home.must("blue_green_deploy", "stop", "green")
    assert not list(home.installed.root.rglob(".local_context"))


def test_advice_of_the_router_can_be_pasted_into_any_shell(home: Home) -> None:
    home.must("traffic_router", "start", "--daemon")
    advice = home.advice()
    assert "/env/bin/blue_green_deploy start blue" in advice

    done = subprocess.run(
        ["sh", "-c", advice], env={"PATH": os.environ["PATH"]}, cwd="/", capture_output=True, text=True
    )

    assert done.returncode == 0, (advice, done.stderr)
    assert home.ask().startswith("blue ")
    elsewhere = home.installed.run(
        "blue_green_deploy", "status", "--json", home=Path("/"), TRAFFIC_ROUTER_HOME=str(home.folder)
    )
    assert json.loads(elsewhere.stdout)["active_version"] == "blue"


def test_demo_runs_where_nothing_is_configured(home: Home) -> None:
    home.must("blue_green_deploy", "start", "blue", "--demo")
    home.must("traffic_router", "start", "--daemon")
    assert json.loads(home.ask("/health"))["version"] == "blue"
