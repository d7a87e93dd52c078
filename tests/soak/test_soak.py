"""A short share of the soak on every run of the tests; and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.soak.clients.__main__ import KINDS
from tests.support.router_process import ROOT
from tests.support.waiting import wait_until

EVENTS = "switch,rollback,pause,worker-kill,app-crash,command-kill,reload"
SEVERAL = "instance-kill,scale,restart,drain"


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """A soak that writes into the folder, its messages into `said`."""
    with (folder / "said").open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.soak", "--seed=1", *options],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            text=True,
        )


def left_behind(folder: Path) -> list[str]:
    """Processes that know of the folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(folder) in text for text in (*process.cmdline(), *process.environ().values())):
                found.append(" ".join(process.cmdline()))
    return found


def soak(folder: Path, *options: str) -> dict[str, Any]:
    """A short soak to its end, of which nothing is left; what its report says, in which nothing is wrong."""
    process = start(folder, "--seconds=10", f"--json={folder / 'report.json'}", *options)
    try:
        code = process.wait(240)
    finally:
        process.kill()
    said = (folder / "said").read_text()
    assert code == 0, said
    assert "The books are balanced" in said
    assert left_behind(folder) == []
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    assert {row["requests"] for row in found["clients"]} == set(KINDS)
    return found


@pytest.mark.timeout(300)
def test_nothing_is_lost_in_a_short_soak(tmp_path: Path) -> None:
    found = soak(tmp_path, f"--events={EVENTS}")
    assert found["totals"]["requests of the clients"] > 500


@pytest.mark.timeout(300)
def test_nothing_is_lost_with_several_processes(tmp_path: Path) -> None:
    found = soak(tmp_path, f"--events={SEVERAL}", "--instances=3", "--max-in-flight=8")
    assert found["totals"]["processes that answered"] >= 6


@pytest.mark.timeout(180)
def test_interrupted_soak_leaves_no_process(tmp_path: Path) -> None:
    process = start(tmp_path, "--seconds=60", "--events=switch")
    try:
        wait_until(lambda: re.search(r"\d requests", (tmp_path / "said").read_text()), "the first event", 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 130
    finally:
        process.kill()
    assert left_behind(tmp_path) == []
    assert "all that was started has ended" in (tmp_path / "said").read_text()
