"""Which command the page names beneath the sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.command_line import PROGRAM
from app.dashboard.observation import Observation
from app.dashboard.sentence import advice, sentence
from app.state.model import BlueGreenState, Maintenance, Pause
from tests.dashboard.observations import AT, command, observation, probes, snapshot, state, stats

REFUSED = snapshot(probes={"blue": probes("+--"), "green": probes("+")})
ALONE = snapshot(probes={"blue": probes("+--")})
ERRORS = snapshot(stats("blue", 100, 90), probes={"blue": probes("+"), "green": probes("+")})


def advised(seen: Observation) -> str:
    """The command without the program."""
    now = seen.situation
    return advice(seen, sentence(seen, now), now).removeprefix(f"{PROGRAM} ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({}, "", id="calm"),
        pytest.param({"state": state("green", switched_ago_s=5)}, "", id="after a switch"),
        pytest.param({"state": None}, "start blue", id="nothing yet"),
        pytest.param({"state": None, "state_fault": "it is torn"}, "status", id="unreadable"),
        pytest.param({"state_fault": "it is torn"}, "repair", id="torn"),
        pytest.param({"minute": REFUSED, "state_fault": "it is torn"}, "repair", id="torn, and the active one is down"),
        pytest.param({"state": BlueGreenState(), "minute": snapshot()}, "start blue", id="none active"),
        pytest.param({"state": state(None, blue="crashed")}, "switch green", id="none active, one well"),
        pytest.param({"state": replace(state(), maintenance=Maintenance(AT - 5))}, "maintenance off", id="maintenance"),
        pytest.param({"state": replace(state(), pause=Pause(AT - 5, AT + 5))}, "resume", id="paused"),
        pytest.param({"state": replace(state(), pause=Pause(AT - 9, AT - 5))}, "", id="pause is over"),
        pytest.param({"minute": REFUSED}, "switch green", id="failing, standby well"),
        pytest.param({"minute": ALONE}, "restart blue", id="failing alone"),
        pytest.param({"minute": ALONE, "state": state(blue="crashed")}, "start blue", id="crashed alone"),
        pytest.param({"minute": ERRORS}, "switch green", id="errors, standby well"),
        pytest.param({"minute": ERRORS._replace(probes={"blue": probes("+"), "green": ()})}, "logs blue", id="errors"),
        pytest.param({"commands": [command("deploy", 9, outcome="failed")]}, "status", id="command failed"),
    ],
)
def test_command_that_helps(changes: dict[str, object], words: str) -> None:
    assert advised(observation(**changes)) == words


def test_whoever_works_on_it_needs_no_advice() -> None:
    work = command("restart", 3, "blue", outcome=None, duration_s=None)
    assert advised(observation(minute=REFUSED, at_work=[work])) == ""


def test_version_in_the_foreground_is_nobody_who_works_on_it() -> None:
    assert advised(observation(minute=REFUSED, at_work=[command("run", 300, "blue", outcome=None)])) == "switch green"


def test_drain_needs_patience_only() -> None:
    left = snapshot(stats("blue", in_flight=3), probes={"blue": probes("+"), "green": probes("+")})
    assert advised(observation(state=state("green", switched_ago_s=5), minute=left)) == ""
