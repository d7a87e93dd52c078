"""The launchers in `bin/`: from any directory, by any python3, into the project's own Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["traffic_router", "blue_green_deploy"]

SHOW = """#!/bin/sh
echo "in <$PWD> at home in <$TRAFFIC_ROUTER_HOME>"
printf '<%s>\\n' "$@"
"""
"""Stands in for Python, to see what it would be started with."""


def launch(
    launcher: Path, *argv: str, cwd: Path, by: tuple[str, ...] = ("python3",), **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*by, str(launcher), *argv],
        cwd=cwd,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_launcher_works_from_any_directory(command: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()  # a package of the same name that must not come before ours
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('the wrong app')\n")

    done = launch(ROOT / "bin" / command, "--version", cwd=tmp_path, PYTHONPATH=str(tmp_path))

    assert done.stdout.startswith(f"{command} 1.")
    assert done.returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_launcher_is_executable_and_works_through_a_link(command: str, tmp_path: Path) -> None:
    link = tmp_path / command
    link.symlink_to(ROOT / "bin" / command)

    done = subprocess.run([str(link), "--version"], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0
    assert done.stdout.startswith(f"{command} 1.")


@pytest.mark.parametrize("command", COMMANDS)
def test_launcher_without_virtual_environment_says_make_setup(command: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    launcher = Path(shutil.copy(ROOT / "bin" / command, tmp_path / "bin"))

    done = launch(launcher, "status", cwd=tmp_path)

    assert done.returncode == 1
    assert f"run `make setup` in {tmp_path}" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_launcher_whose_python_is_gone_says_where_it_was(command: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    launcher = Path(shutil.copy(ROOT / "bin" / command, tmp_path / "bin"))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to("/root/of/somebody/else/python3")

    done = launch(launcher, "status", cwd=tmp_path)

    assert done.returncode == 1
    assert "/root/of/somebody/else/python3 is not there, or not for this user" in done.stderr
    assert "make clean setup SYSTEM_PYTHON=" in done.stderr


@pytest.mark.parametrize("by", [(), ("python3",), ("sh",)], ids=["by itself", "by python3", "by sh"])
@pytest.mark.parametrize("command", COMMANDS)
def test_launcher_hands_everything_on_as_it_is(command: str, by: tuple[str, ...], tmp_path: Path) -> None:
    root = tmp_path / "a folder; $(id) with spaces"
    (root / "bin").mkdir(parents=True)
    (root / ".venv" / "bin").mkdir(parents=True)
    launcher = Path(shutil.copy(ROOT / "bin" / command, root / "bin"))
    python = root / ".venv" / "bin" / "python"
    python.write_text(SHOW)
    python.chmod(0o755)

    done = launch(launcher, "a  b", "", "*", "-x", cwd=tmp_path, by=by, TRAFFIC_ROUTER_HOME="my home")

    place, *words = done.stdout.splitlines()
    assert place == f"in <{root}> at home in <{tmp_path / 'my home'}>"
    assert words == ["<-m>", "<app.cli>", f"<{command}>", "<a  b>", "<>", "<*>", "<-x>"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 1, "❌ the output cannot be written: No space left on device\n"),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written_is_said_without_a_traceback(redirection: str, code: int, said: str) -> None:
    command = f"python3 {ROOT}/bin/traffic_router config {redirection}"

    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (code, said)


def test_encoding_without_our_marks_gets_question_marks(tmp_path: Path) -> None:
    done = launch(ROOT / "bin" / "traffic_router", "status", "--port=1", cwd=tmp_path, PYTHONIOENCODING="ascii")

    assert done.returncode == 1
    assert "? Router: UNHEALTHY" in done.stdout


def test_home_may_be_relative_to_where_one_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "traffic_router.toml").write_text("pool_size = 77\n")

    done = launch(ROOT / "bin" / "traffic_router", "config", cwd=tmp_path, TRAFFIC_ROUTER_HOME="home")

    assert ["pool_size", "77", "traffic_router.toml"] in [line.split() for line in done.stdout.splitlines()]


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"python3 {ROOT}/bin/traffic_router config | head -1; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""
