"""A fleet of three nodes with a real etcd, real agents, routers and applications."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet_farm import FleetNode, Visitors, fleet_nodes, status_of
from tests.support.etcd_server import EtcdMember, etcd_member
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMember]:
    with etcd_member(tmp_path_factory.mktemp("etcd")) as member:
        yield member


@pytest.fixture(scope="module")
def nodes(etcd: EtcdMember, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[FleetNode]]:
    with fleet_nodes(tmp_path_factory.mktemp("fleet"), etcd.endpoint) as nodes:
        yield nodes


def _brought(nodes: list[FleetNode], release: str) -> str:
    for node in nodes:
        node.release(release)
    return release


def test_deploy_and_rollback_reach_every_node_without_a_lost_request(nodes: list[FleetNode]) -> None:
    release = _brought(nodes, "r2")
    with Visitors(nodes) as visitors:
        done = nodes[0].run("fleet", "deploy", f"--release={release}")
        assert done.returncode == 0, done.stdout + done.stderr + nodes[0].log()
        assert [node.served() for node in nodes] == ["r2"] * 3
        back = nodes[1].run("fleet", "rollback")
        assert back.returncode == 0, back.stdout + back.stderr
        assert [node.served() for node in nodes] == ["r1"] * 3
    assert visitors.failures == []
    assert "n3: ready" in done.stdout and "Committed, epoch" in done.stdout


def test_node_that_cannot_start_it_keeps_the_release_from_all(nodes: list[FleetNode]) -> None:
    done = nodes[0].run("fleet", "deploy", f"--release={_brought(nodes, 'r2-before')}")
    assert done.returncode == 0, done.stdout + done.stderr  # each has a version to go back to, whatever ran before
    release = _brought(nodes[:2], "r3")
    nodes[2].release(release, is_broken=True)
    before = [node.served() for node in nodes]
    with Visitors(nodes) as visitors:
        done = nodes[0].run("fleet", "deploy", f"--release={release}")
        assert done.returncode == 3
        assert "n3 failed" in done.stderr and "Every node serves what it served before" in done.stderr
        assert "no such table: orders" in done.stdout  # the end of its log
        wait_until(lambda: all(it.standby()["status"] == "stopped" for it in nodes), "all have taken it back")
    assert visitors.failures == []
    assert [node.served() for node in nodes] == before
    # That is written after the stop.
    wait_until(lambda: all(it.standby()["release"] != release for it in nodes), "a rollback that does not lead to it")
    assert all(it.standby()["release"] != release for it in nodes)  # a rollback does not lead to it


def test_no_client_sees_the_old_release_after_the_new_one_when_all_switch_together(nodes: list[FleetNode]) -> None:
    release = _brought(nodes, "r4")
    seen: list[str] = []
    deploy = nodes[0].begin("fleet", "deploy", f"--release={release}", "--together", "--json")
    while deploy.poll() is None:
        seen += [node.served() for node in nodes]  # one client, which hops from node to node
    out, err = deploy.communicate()
    assert deploy.returncode == 0, err
    assert json.loads(out)["phase"] == "done"
    assert set(seen[seen.index(release) :]) == {release}


@pytest.mark.parametrize("phase", ["prepare", "commit"])
def test_coordinator_that_is_killed_leaves_no_node_between_two_releases(nodes: list[FleetNode], phase: str) -> None:
    release = _brought(nodes, f"r5-{phase}")
    before = nodes[0].served()
    deploy = nodes[0].begin("fleet", "deploy", f"--release={release}")
    assert deploy.stdout is not None
    wanted = {"prepare": "every node starts it", "commit": "Committed"}[phase]
    for line in deploy.stdout:
        if wanted in line:
            break
    deploy.send_signal(signal.SIGKILL)
    deploy.communicate()
    ends_on = {"prepare": before, "commit": release}[phase]
    wait_until(lambda: status_of(nodes[1])["rollout"] is None, "the agents end the rollout", 30)
    wait_until(lambda: [node.served() for node in nodes] == [ends_on] * 3, f"all serve {ends_on}", 20)
    wait_until(lambda: all(it.standby()["release"] != release for it in nodes), "none keeps it as its standby", 20)


def test_agent_that_was_away_brings_its_node_up_to_what_was_committed(nodes: list[FleetNode]) -> None:
    release = _brought(nodes, "r6")
    nodes[2].stop_agent()
    done = nodes[0].run("fleet", "deploy", f"--release={release}")
    assert done.returncode == 0, done.stderr
    assert nodes[2].served() != release
    nodes[2].start_agent()
    wait_until(lambda: nodes[2].served() == release, "n3 has caught up", 30)


def test_traffic_flows_while_etcd_hangs_and_the_deploy_says_so(nodes: list[FleetNode], etcd: EtcdMember) -> None:
    before = [node.served() for node in nodes]
    with Visitors(nodes) as visitors:
        etcd.signal(signal.SIGSTOP)
        try:
            done = nodes[0].run("fleet", "deploy", "--release=r7")
        finally:
            etcd.signal(signal.SIGCONT)
    assert done.returncode == 1
    assert "etcd" in done.stderr
    assert visitors.failures == []
    assert [node.served() for node in nodes] == before
    wait_until(lambda: len(status_of(nodes[0])["nodes"]) == 3, "all are back", 30)


def test_writer_to_etcd_cannot_have_a_node_run_anything_but_its_own_releases(
    nodes: list[FleetNode], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    for words in ([f"--dir={tmp_path}"], ["--release=../../../x"], ["--release=r6;touch owned"]):
        done = nodes[0].run("fleet", "deploy", *words)
        assert done.returncode == 3, done.stdout + done.stderr
        assert "failed: the fleet wants" in done.stderr
    assert not (tmp_path / "owned").exists()


def test_drained_node_and_paused_fleet_are_told_and_undone(nodes: list[FleetNode]) -> None:
    assert nodes[0].run("fleet", "node", "drain", "n2").returncode == 0
    assert nodes[0].run("fleet", "pause").returncode == 0
    status = nodes[0].run("fleet", "status").stdout
    assert "drained by hand" in status and "Paused by" in status
    refused = nodes[0].run("fleet", "deploy", "--release=r6")
    assert refused.returncode == 1 and "the fleet was paused" in refused.stderr
    assert nodes[0].run("fleet", "resume").returncode == 0
    assert nodes[0].run("fleet", "node", "undrain", "n2").returncode == 0
    found = status_of(nodes[0])
    assert found["paused"] is None and found["nodes"]["n2"]["state"] == "as committed"
    assert "deploy" in nodes[0].run("fleet", "history").stdout
