"""What a command says of one that was killed is judged by what `status` shows."""

from __future__ import annotations

import pytest

from tests.soak.interrupting import fault_of_next_word

SEVERAL = [{"number": number, "alive": number == 2} for number in (1, 2, 3)]
STATUS = {"active_version": "blue", "versions": {"blue": {"status": "running"}, "green": {"status": "stopped"}}}


def told(stands: str, what: str = "broke off while gating") -> str:
    return f"⚠️  `deploy` (pid 7) {what}: {stands}\n   There is no maintenance\n"


@pytest.mark.parametrize(
    ("stands", "is_so"),
    [
        ("green had no traffic yet and was stopped", True),
        ("blue had no traffic yet and was stopped", False),
        ("green was not started", True),
        ("blue was not started", False),
        ("green is stopped", True),
        ("blue has been stopped now", False),
        ("blue is active, so it was left running", True),
        ("green is active", False),
        ("green is active and was left stopped; bin/blue_green_deploy start green", False),
        ("traffic goes to the version that the state file names", True),
    ],
)
def test_what_is_said_is_compared_with_the_status(stands: str, is_so: bool) -> None:
    assert (fault_of_next_word(told(stands), 7, STATUS, had_no_end=True) == "") == is_so


@pytest.mark.parametrize(
    ("stopped", "is_so"),
    [
        ("process 1 of blue is", True),
        ("processes 1 and 3 of blue are", True),
        ("process 2 of blue is", False),
        ("processes 1 and 2 of blue are", False),
        ("blue is", False),
    ],
)
def test_what_is_said_of_some_processes_is_compared_with_the_status(stopped: str, is_so: bool) -> None:
    blue = {"status": "running", "instances": SEVERAL}
    status = {"active_version": "blue", "versions": {"blue": blue, "green": {"status": "stopped"}}}
    said = told(f"{stopped} stopped; bin/blue_green_deploy restart blue", "broke off while replacing")
    assert (fault_of_next_word(said, 7, status, had_no_end=True) == "") == is_so


def test_a_command_without_an_end_must_be_told_of() -> None:
    assert "did not tell" in fault_of_next_word("   There is no maintenance", 7, STATUS, had_no_end=True)
    assert "did not tell" in fault_of_next_word(told("green is stopped"), 8, STATUS, had_no_end=True)
    done = told("the state file says that all of it was done", "has no end in the history")
    assert fault_of_next_word(done, 7, STATUS, had_no_end=True) == ""


def test_a_command_that_had_ended_must_not_be_told_of() -> None:
    assert "had come to its end" in fault_of_next_word(told("green is stopped"), 7, STATUS, had_no_end=False)
    assert fault_of_next_word("⚠️  took over the lock of pid 7 (switch)", 7, STATUS, had_no_end=False) == ""
