"""What is installed for the tests of this room."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

from tests.peers.peers import PEERS_PYTHON

ROOT = Path(__file__).resolve().parents[2]


def test_peers_are_those_that_the_project_names() -> None:
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["peers"]
    named = dict(line.lower().replace("_", "-").split("==") for line in group)

    listed = subprocess.run([PEERS_PYTHON, "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    installed = {found["name"].lower().replace("_", "-"): found["version"] for found in json.loads(listed.stdout)}

    assert {name: installed.get(name) for name in named} == named
