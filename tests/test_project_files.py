"""The files at the root that people and platforms read first."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_make_lists_its_targets_by_default() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)

    listed = re.findall(r"^  make ([a-z-]+)  +\S", done.stdout, re.MULTILINE)
    declared = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == declared
    assert {"help", "setup", "run", "test", "lint", "types", "clean"} <= set(listed)


def test_procfile_serves_the_router_as_documented() -> None:
    processes = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())

    assert processes["web"] == "gunicorn -c gunicorn.conf.py app:wsgi"
    assert processes["blue"] == "python3 bin/blue_green_deploy run blue"


def test_continuous_integration_is_a_valid_script_that_anybody_can_run() -> None:
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_every_requirement_is_pinned() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]

    assert lines
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
