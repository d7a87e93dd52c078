"""The files at the root that people and platforms read first."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


def test_lock_has_every_requirement_as_it_is_pinned_and_every_file_by_its_hash() -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    locked = {re.match(r"[\w.-]+==[\w.]+", entry)[0].lower(): entry for entry in entries}  # type: ignore[index]

    pinned = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert [line for line in pinned if line.lower().replace("_", "-") not in locked] == [], "make lock"
    assert [name for name, entry in locked.items() if "--hash=sha256:" not in entry] == []
    assert "://" not in "".join(entries)


def test_requirements_and_extras_are_what_our_code_imports() -> None:
    named = {"prometheus_client": "prometheus-client", "dotenv": "python-dotenv", "jwt": "pyjwt"}
    imported = set()
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    imported -= {"app", "_typeshed", *sys.stdlib_module_names}

    listed = re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text().replace("_", "-"), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed += [one.partition("==")[0] for extra in extras.values() for one in extra]
    needed_by_gunicorn = {"packaging"}
    assert {named.get(name, name) for name in imported} == {name.lower() for name in listed} - needed_by_gunicorn


def test_nothing_is_tracked_that_is_to_be_ignored() -> None:
    """A virtual environment, say: a clone of it does not work, and `make` takes it for a finished one."""
    if not (ROOT / ".git").exists():  # an archive has no more than was tracked
        return
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[:3] == []


PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_names_modules_and_what_is_in_them(page: Path) -> None:
    """Of the project's own: `app/errors.py` is there, and `CAUSES` in `app/errors.py` is in it."""
    text = page.read_text(encoding="utf-8")
    modules = set(re.findall(r"`((?:app|bench|tests)/[\w/]+\.py)`", text))
    assert [module for module in modules if not (ROOT / module).is_file()] == []
    for name, module in re.findall(r"`([\w.]+)` in\s+`((?:app|bench|tests)/[\w/]+\.py)`", text):
        assert re.search(rf"\b{name.rpartition('.')[2]}\b", (ROOT / module).read_text(encoding="utf-8")), (name, module)
