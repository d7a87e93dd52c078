"""A few incidents on every run of the tests; the whole drill is `make drill`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.drill.drilling import drill
from tests.drill.incidents import INCIDENTS
from tests.drill.places import advice_in
from tests.support.router_process import ROOT

SHARE = ("active killed", "router stopped", "last good state gone as well")
"""Quick ones, each of its own kind: the application, the router, the state."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", SHARE)
def test_every_place_tells_the_incident_and_the_printed_advice_ends_it(name: str) -> None:
    record = drill(name)
    assert record.faults == []
    assert record.steps, "nothing was advised"
    assert record.failed or name not in SHARE[:2]


def test_incidents_can_be_listed() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.drill", "--list"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == list(INCIDENTS)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("❌ Green crashed.\n   Try: bin/x switch blue\n", ["bin/x switch blue"]),
        ("   They flow again in 9 s, or with: bin/x resume", ["bin/x resume"]),
        ("   Next: bin/x status\n   Log: a.log\n", ["bin/x status"]),
        ("all is well", []),
    ],
)
def test_advice_is_read_as_it_is_printed(text: str, commands: list[str]) -> None:
    assert advice_in(text) == commands
