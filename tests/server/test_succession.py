from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.server.handoff import hand_on, take_up_last_good
from app.server.pid_file import PidFile
from app.state.last_good import LastGood


@pytest.mark.parametrize(("wanted", "goes_on"), [("bg_state.json", True), ("other.json", False)])
def test_last_good_state_goes_on_for_the_same_state_file(tmp_path: Path, wanted: str, goes_on: bool) -> None:
    before = LastGood.shared()
    with before.turn():
        before.publish(b"a state")
    environ: dict[str, str] = {}
    hand_on(environ, PidFile(tmp_path / "router.pid", 5004, "127.0.0.1:5004"), str(tmp_path / "bg_state.json"), before)
    number, _, path = environ["ROUTER_LAST_GOOD"].partition(":")
    environ["ROUTER_LAST_GOOD"] = f"{os.dup(int(number))}:{path}"  # an exec would leave it in one hand
    after = take_up_last_good(environ, str(tmp_path / wanted))
    assert after.read() == (b"a state" if goes_on else b"")
    assert environ.keys() == {"ROUTER_PID_FILE"}


def test_a_router_that_replaces_none_has_a_last_good_state_of_its_own() -> None:
    last_good = take_up_last_good({}, "bg_state.json")
    assert (last_good.fd >= 0, last_good.read()) == (True, b"")
