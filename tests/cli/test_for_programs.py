"""What scripts rely on: `--json` gives one JSON document and nothing else, and the exit code says how it went."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app.cli import blue_green_deploy, traffic_router
from app.cli.entry import run
from tests.cli.test_blue_green_deploy import Captured, deploy, state
from tests.support.canned_router import CannedRouter

PROGRAMS = {"blue_green_deploy": blue_green_deploy, "traffic_router": traffic_router}


def offered(program: str) -> set[str]:
    """The commands whose usage offers --json."""
    usage = (PROGRAMS[program].__doc__ or "").partition("Commands:")[0]
    return set(re.findall(rf"^  {program} ([a-z-]+)[^\n]*--json", usage, re.MULTILINE))


DEPLOY: dict[tuple[str, ...], int] = {
    ("status",): 1,
    ("health-check",): 0,
    ("health-check", "blue"): 0,
    ("health-check", "green"): 3,
    ("preview",): 0,
    ("history",): 0,
    ("history", "--limit=1"): 0,
    ("history", "--verify"): 0,
    ("events",): 0,
    ("events", "--since=2d", "--limit=1"): 0,
    ("releases",): 0,
    ("canary", "status"): 0,
}
ROUTER: dict[tuple[str, ...], int] = {
    ("status",): 0,
    ("metrics",): 0,
    ("metrics", "--window=60"): 0,
    ("test",): 0,
    ("config",): 0,
    ("init", "--dry-run"): 0,
}


def test_every_command_that_offers_json_is_tried() -> None:
    # What wants a broken state or an etcd: tests.deploy.test_repair, tests.fleet.
    assert offered("blue_green_deploy") == {argv[0] for argv in DEPLOY} | {"repair", "fleet"}
    assert offered("traffic_router") == {argv[0] for argv in ROUTER}


def test_deploy_commands_give_json(site: Path, capsys: Captured) -> None:
    assert deploy("start", "blue") == 0
    for argv, code in DEPLOY.items():
        capsys.readouterr()
        assert deploy(*argv, "--json") == code, argv
        out, err = capsys.readouterr()
        assert json.loads(out), argv
        assert err == ""


def test_router_commands_give_json(canned: CannedRouter, capsys: Captured) -> None:
    for argv, code in ROUTER.items():
        capsys.readouterr()
        assert run(traffic_router.main, (*argv, "--json")) == code, argv
        out, err = capsys.readouterr()
        assert json.loads(out), argv
        assert err == ""


def test_history_that_was_changed_is_told_as_json(site: Path, capsys: Captured) -> None:
    deploy("start", "blue", "--release=r1")
    path = site / ".local_context" / "history.jsonl"
    path.write_text(path.read_text().replace('"r1"', '"r9"', 1))
    capsys.readouterr()
    assert deploy("history", "--verify", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == [{"line": 1, "fault": "was changed after it was written"}]
    assert found["lines"] == found["chained"] > 1


FAILURES: dict[tuple[str, ...], int] = {
    ("start", "red"): 2,
    ("start", "green", "--dir=/no/such"): 2,
    ("run", "blue"): 1,
    ("stop", "blue"): 1,
    ("restart", "green", "--fast"): 2,
    ("health-check", "green"): 3,
    ("switch", "green"): 3,
    ("rollback",): 1,
    ("rollback", "--to=99"): 1,
    ("deploy", "--command=no-such-program"): 2,
    ("preview", "red"): 2,
    ("pause", "--max-hold=0"): 2,
    ("maintenance", "on", "--allow=everybody"): 2,
    ("maintenance",): 2,
    ("logs", "green"): 1,
    ("history", "--limit=all"): 2,
    ("status", "--yaml"): 2,
    (): 2,
}


@pytest.mark.parametrize("argv", FAILURES, ids=" ".join)
def test_failures_have_their_exit_code_and_the_way_out(site: Path, capsys: Captured, argv: tuple[str, ...]) -> None:
    """Blue runs and is active, green was never started."""
    assert deploy("start", "blue") == 0
    before = state(site)
    capsys.readouterr()
    assert deploy(*argv) == FAILURES[argv]
    captured = capsys.readouterr()
    assert "   Try: " in captured.err or FAILURES[argv] == 3
    assert state(site)["active_version"] == before["active_version"]
