"""The agent of a machine, as a process, over a real etcd."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.cli.fleet_agent import own_figures
from app.fleet.etcd import Etcd
from app.fleet.etcd_gateway import EtcdAccess, Gateway
from app.fleet.sight import FleetSight
from app.fleet.sight_file import read_sight
from app.metrics.shared import SharedMetrics
from app.settings.tables.router_settings import RouterConfig
from app.state.model import BlueGreenState
from tests.support.environment import own_environment
from tests.support.etcd_server import EtcdMember, etcd_member
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMember]:
    with etcd_member(tmp_path_factory.mktemp("etcd")) as member:
        yield member


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the agent of a machine in a folder of its name, and ends it."""
    agents: list[subprocess.Popen[str]] = []

    def start_(home: str, endpoint: str, node: str, fleet: str = "shop", **more: object) -> subprocess.Popen[str]:
        folder = tmp_path / home
        folder.mkdir(exist_ok=True)
        settings: dict[str, object] = {"name": fleet, "node": node, "endpoints": [endpoint], **more}
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (folder / "traffic_router.toml").write_text("[fleet]\n" + "\n".join(lines) + "\n")
        agents.append(
            subprocess.Popen(
                [sys.executable, "-m", "app.cli.blue_green_deploy", "agent"],
                env={**own_environment(), "TRAFFIC_ROUTER_HOME": str(folder)},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return agents[-1]

    yield start_
    for agent in agents:
        agent.kill()
        agent.communicate()


def sight(tmp_path: Path, home: str) -> FleetSight | None:
    return read_sight(tmp_path / home / ".local_context" / "fleet.json")


def nodes_seen(tmp_path: Path, home: str) -> list[str]:
    found = sight(tmp_path, home)
    return list(found.nodes) if found is not None else []


def fault_seen(tmp_path: Path, home: str) -> str | None:
    found = sight(tmp_path, home)
    return found.fault if found is not None else None


def nodes(member: EtcdMember, fleet: str) -> dict[str, Any]:
    with closing(Gateway(EtcdAccess((member.endpoint,)))) as gateway:
        found = Etcd(gateway, f"/traffic_router/{fleet}/").read("nodes/").entries
    return {key.removeprefix("nodes/"): json.loads(it.value) for key, it in found.items()}


def test_agent_registers_sees_the_others_and_leaves_at_a_word(member: EtcdMember, start: Start, tmp_path: Path) -> None:
    one, two = (start(name, member.endpoint, name, "life") for name in ("web-1", "web-2"))

    wait_until(lambda: len(nodes_seen(tmp_path, "web-1")) == 2, "the one sees the other", 20)
    seen = sight(tmp_path, "web-1")
    assert seen is not None
    assert list(seen.nodes) == ["web-1", "web-2"] and not seen.fault and time.time() - seen.heard_at < 10
    assert nodes(member, "life")["web-2"]["epoch"] == 0

    two.send_signal(signal.SIGTERM)
    told, faults = two.communicate(timeout=10)
    assert two.returncode == 0 and faults == "" and "web-2 has left the fleet" in told
    assert list(nodes(member, "life")) == ["web-1"]
    wait_until(lambda: nodes_seen(tmp_path, "web-1") == ["web-1"], "the one sees that it is alone")
    assert one.poll() is None


def test_name_that_another_machine_has_is_told(member: EtcdMember, start: Start, tmp_path: Path) -> None:
    first = start("a", member.endpoint, "web-1", "twice")
    wait_until(lambda: sight(tmp_path, "a"), "the first is registered", 20)

    other = start("b", member.endpoint, "web-1", "twice")
    _, faults = other.communicate(timeout=20)
    assert other.returncode == 1
    assert f"another agent is web-1 in this fleet: in {tmp_path}/a/.local_context on " in faults

    same = start("a", member.endpoint, "web-1", "twice")
    _, faults = same.communicate(timeout=20)
    assert same.returncode == 1 and "running already" in faults
    assert first.poll() is None and list(nodes(member, "twice")) == ["web-1"]


def test_agent_that_was_killed_has_its_place_again_at_once(member: EtcdMember, start: Start, tmp_path: Path) -> None:
    first = start("a", member.endpoint, "web-1", "killed")
    wait_until(lambda: sight(tmp_path, "a"), "the first is registered", 20)
    first.kill()
    first.wait(10)

    second = start("a", member.endpoint, "web-1", "killed")

    wait_until(lambda: nodes(member, "killed")["web-1"]["pid"] == second.pid, "the second is registered", 10)


def test_agent_outlives_etcd_and_registers_with_an_empty_one(start: Start, tmp_path: Path) -> None:
    with etcd_member(tmp_path / "first") as member:
        agent = start("a", member.endpoint, "web-1")
        wait_until(lambda: sight(tmp_path, "a"), "it is registered", 20)
        member.stop()
        fault = wait_until(lambda: fault_seen(tmp_path, "a"), "it tells that etcd is gone", 20)
        assert "etcd cannot be reached" in fault and agent.poll() is None

        member.folder = tmp_path / "anew"  # as after a restored backup that has nothing of us
        member.start(f"{member.name}={member.peer}")
        wait_until(member.is_up, "etcd is back", 20)
        wait_until(lambda: list(nodes(member, "shop")) == ["web-1"], "it registers again", 20)
        wait_until(lambda: fault_seen(tmp_path, "a") == "", "it has nothing to tell", 10)


def test_agent_begins_before_etcd_does(start: Start, tmp_path: Path) -> None:
    agent = start("a", f"http://127.0.0.1:{free_port()}", "web-1")

    seen = wait_until(lambda: sight(tmp_path, "a"), "it writes down that it hears nothing", 20)

    assert seen.heard_at == 0 and "refused" in seen.fault and agent.poll() is None


def test_what_will_not_mend_itself_ends_it_at_once(member: EtcdMember, start: Start, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    refused = start("a", member.endpoint, "web-1", user="shop", password_file=str(password))
    with RawUpstream() as server:
        server.handler = lambda exchange: exchange.send(reply(b"404 page not found\n", status=b"404 Not Found"))
        old = start("b", f"http://127.0.0.1:{server.port}", "web-1")
        _, faults = old.communicate(timeout=20)
    assert old.returncode == 1 and "is no etcd of version 3.4 or later" in faults
    _, faults = refused.communicate(timeout=20)
    assert refused.returncode == 1 and "user is set" in faults


def test_machine_without_a_fleet_has_no_agent_and_imports_nothing_of_it(tmp_path: Path) -> None:
    environ = {**own_environment(), "TRAFFIC_ROUTER_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "app.cli.blue_green_deploy", "agent"]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "belongs to no fleet" in done.stderr

    code = (
        "import sys; from app.settings.loading import Loaded; import app.web, app.cli.blue_green_deploy as it;"
        "it.main(['status']); app.web.create_app(Loaded.just());"
        "sys.exit([name for name in sys.modules if name.startswith('app.fleet')] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_health_check_from_before_the_release_says_nothing_of_it(tmp_path: Path) -> None:
    config = RouterConfig(state_file=str(tmp_path / "bg_state.json"))
    green = replace(BlueGreenState().version("green"), started_at=100.0)
    with closing(SharedMetrics.create_or_attach(config.metrics_path, 4)) as leader:
        assert leader.try_lead()
        found = []
        for at, is_ok in ((99.0, False), (100.5, True), (101.0, False)):
            leader.write_probe(1, at, is_ok, 200, 1, "")
            found.append(own_figures(config, green)[1])
    assert found == [None, True, False]
