"""What a machine's router, page and commands say of its fleet, by what the agent has left; etcd is never asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from app.fleet.sight import FleetSight, NodeSight
from app.fleet.sight_file import SIGHT_NAME, write_sight
from tests.support.environment import own_environment
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import ROOT, configured_router, free_port

NOBODY = f"http://127.0.0.1:{free_port()}"


def written(folder: Path, **changes: Any) -> None:
    now = time.time()
    own = NodeSight("r1", "blue", True, 0, 1)
    seen = FleetSight("shop", "web-1", now, now, own=own, epoch=1, release="r1", nodes={"web-1": own})
    write_sight(folder / SIGHT_NAME, seen._replace(**changes))


def told(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_and_metrics_say_what_the_agent_saw(tmp_path: Path) -> None:
    toml = f'[fleet]\nname = "shop"\nnode = "web-1"\nendpoints = ["{NOBODY}"]\nstrict = true\nfence = 60\n'
    with RawUpstream() as upstream, configured_router(tmp_path, upstream.port, toml) as router:
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({}, 200, ""),
            ({"is_drained": True}, 503, "this node is drained"),
            ({"epoch": 2}, 503, "behind"),
            ({"heard_at": time.time() - 20}, 200, ""),
            ({"heard_at": time.time() - 70}, 503, "fence is 60 s"),
        ]
        for changes, status, reason in cases:
            written(router.folder, **changes)
            code, text = told(router.port, "/__router_health")
            report = json.loads(text)
            assert (code, reason in report.get("reason", "")) == (status, True), changes
            assert report["fleet"]["name"] == "shop"
            assert told(router.port, "/")[0] == 200, "what still comes is served"
        written(router.folder, is_drained=True)
        text = told(router.port, "/__router_metrics?format=prometheus")[1]
        assert "traffic_router_fleet_drained 1.0" in text and "traffic_router_fleet_isolated 0.0" in text


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    ports = f"main_port = {free_port()}\n[app]\nblue_port = {free_port()}\ngreen_port = {free_port()}\n"
    fleet = f'[fleet]\nname = "shop"\nendpoints = ["{NOBODY}"]\n'
    (tmp_path / "traffic_router.toml").write_text(ports + fleet)

    def run_(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli.blue_green_deploy", *words]
        environ = {**own_environment(), "TRAFFIC_ROUTER_HOME": str(tmp_path)}
        return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60)

    yield run_
    for version in ("blue", "green"):
        run_("stop", version, "--force")


def test_status_says_how_the_machine_stands(run: Run, tmp_path: Path) -> None:
    assert "Fleet: not seen yet, 0 nodes: isolated: no agent has run here yet" in run("status").stdout
    written(tmp_path / ".local_context")
    assert "   Fleet: shop, node web-1, 1 node: as the fleet has committed" in run("status").stdout
    assert json.loads(run("status", "--json").stdout)["fleet"]["committed_release"] == "r1"


@pytest.mark.parametrize("words", [("switch", "green"), ("rollback",), ("deploy", "--release=r2")], ids=" ".join)
def test_traffic_is_moved_on_one_machine_of_a_fleet_only_on_purpose(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2 and "belongs to the fleet shop" in done.stderr and "--local" in done.stderr
    assert "belongs to the fleet" not in run(*words, "--local").stderr
