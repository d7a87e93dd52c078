from __future__ import annotations

from collections.abc import Callable

import pytest

from app.deploy.deployer import Overrides
from app.deploy.events import Launched, Noted
from app.operator_errors import StateError
from tests.deploy.rehearsal import COMMAND, Rehearsal


@pytest.fixture
def three(deployments: Callable[..., Rehearsal]) -> Rehearsal:
    """Releases r1, r2 and r3 have been active, each in a directory of its own; r3 is, and r2 still runs."""
    rehearsal = deployments()
    for name in ("r1", "r2", "r3"):
        folder = rehearsal.home / name
        folder.mkdir()
        rehearsal.deployer(f"deploy {name}").deploy(Overrides(release=name, dir=str(folder), command=COMMAND))
    rehearsal.events.clear()
    return rehearsal


def active_release(rehearsal: Rehearsal) -> str | None:
    active = rehearsal.state.active
    return active.release if active else None


def test_history_counts_its_commands(three: Rehearsal) -> None:
    assert [(entry.number, entry.release) for entry in three.history.entries()] == [(1, "r1"), (2, "r2"), (3, "r3")]


def test_a_release_that_no_version_has_any_more_is_started_again(three: Rehearsal) -> None:
    three.deployer().rollback(1)
    assert active_release(three) == "r1"
    launched = three.seen(Launched)[0]
    assert (launched.version, launched.release, launched.directory) == ("green", "r1", three.home / "r1")


def test_a_release_that_still_runs_is_only_given_the_traffic(three: Rehearsal) -> None:
    three.deployer().rollback(2)
    assert active_release(three) == "r2"
    assert three.seen(Launched) == []


def test_what_is_active_stays(three: Rehearsal) -> None:
    before = three.state
    three.deployer().rollback(3)
    assert three.state == before
    assert three.seen(Noted) == [Noted("blue is active and runs just that (release r3)")]


@pytest.mark.parametrize("number", [0, 4, 99])
def test_a_number_that_the_history_does_not_have_is_refused(three: Rehearsal, number: int) -> None:
    with pytest.raises(StateError, match=f"the history has no command {number}; it has 3"):
        three.deployer().rollback(number)


def test_a_command_that_gave_nobody_the_traffic_is_refused(three: Rehearsal) -> None:
    three.deployer().stop("green")
    with pytest.raises(StateError, match=r"command 4 \(test\) did not give a version the traffic"):
        three.deployer().rollback(4)


def test_a_failover_is_nothing_to_go_back_to(three: Rehearsal) -> None:
    three.history.note("failover", "blue", "green", "blue is down", 0.0)
    with pytest.raises(StateError, match=r"command 4 \(failover\) did not give a version the traffic"):
        three.deployer().rollback(4)


def test_what_cannot_be_the_same_again_is_not_started_under_the_old_name(rehearsal: Rehearsal) -> None:
    for name in ("r1", "r2", "r3"):
        rehearsal.deployer().deploy(Overrides(release=name))
    with pytest.raises(StateError, match="release r1 cannot be started again.*holds what was put there last"):
        rehearsal.deployer().rollback(1)
    assert active_release(rehearsal) == "r3"
    rehearsal.deployer().rollback(2)
    assert active_release(rehearsal) == "r2"


def test_a_rollback_can_wait_for_the_last_requests(three: Rehearsal) -> None:
    three.deployer().rollback(wait=True)
    assert active_release(three) == "r2"
    assert any("no requests to wait for" in event.text for event in three.seen(Noted))
