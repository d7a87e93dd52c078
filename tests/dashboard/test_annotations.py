"""Which marks the charts get."""

from __future__ import annotations

import pytest

from app.dashboard.annotations import annotate
from app.dashboard.observation import Observation
from app.event_file import Event
from app.state.model import with_version
from tests.dashboard.observations import AT, command, observation, probes, snapshot, state


def kinds(seen: Observation) -> list[tuple[str, str, int]]:
    """Kind, version, and how many seconds ago."""
    return [(note.kind, note.version, round(AT - note.at)) for note in annotate(seen)]


def test_nothing_happened() -> None:
    assert annotate(observation()) == []


def test_switch_shows_before_its_command_ends() -> None:
    work = command("switch", 1, outcome=None, phase="draining", duration_s=None)
    seen = observation(state=state("green", switched_ago_s=0.8), commands=[work], at_work=[work])
    assert kinds(seen) == [("switch", "green", 1)]


def test_switch_and_its_command_are_one_mark_at_the_switch() -> None:
    long_drain = command("deploy", 60, duration_s=58.0)
    seen = observation(state=state("green", switched_ago_s=30), commands=[long_drain])
    assert kinds(seen) == [("switch", "green", 30)]


def test_deploy_at_work_is_one_mark_at_its_switch_however_long_it_took_to_begin() -> None:
    work = command("deploy", 40, outcome=None, phase="draining", duration_s=None)
    seen = observation(state=state("green", switched_ago_s=12), commands=[work], at_work=[work])
    assert kinds(seen) == [("switch", "green", 12)]


def test_two_switches_are_two_marks_in_order() -> None:
    commands = [command("switch", 400), command("rollback", 100, "blue")]
    seen = observation(state=state("blue", switched_ago_s=99), commands=commands)
    assert kinds(seen) == [("switch", "green", 400), ("rollback", "blue", 99)]


def test_failover_and_its_end_are_marks() -> None:
    seen = observation(commands=[command("failover", 60), command("failback", 20, "blue")])
    assert kinds(seen) == [("failover", "green", 60), ("failback", "blue", 20)]
    assert [note.label for note in annotate(seen)] == ["failover to green", "failback to blue"]


def test_failed_deploy_is_no_switch() -> None:
    seen = observation(commands=[command("deploy", 100, outcome="failed", phase="gating")])
    assert annotate(seen) == []


def test_deploy_that_was_killed_in_its_drain_did_switch() -> None:
    seen = observation(commands=[command("deploy", 100, outcome=None, phase="draining", duration_s=None)])
    assert kinds(seen) == [("switch", "green", 100)]


def test_start_restart_and_stop() -> None:
    failed = command("start", 400, outcome="failed")
    asked = command("logs", 350)
    commands = [failed, asked, command("start", 300), command("restart", 200), command("stop", 100)]
    assert [kind for kind, _, _ in kinds(observation(commands=commands))] == ["start", "start", "stop"]


@pytest.mark.parametrize(("status", "text"), [(3, "exit status 3"), (-9, "killed by SIGKILL")])
def test_crash_with_its_exit_status(status: int, text: str) -> None:
    crashed = with_version(state(green="crashed"), "green", exit_status=status)
    seen = observation(state=crashed, ended_at={"green": AT - 40})
    assert kinds(seen) == [("crash", "green", 40)]
    assert annotate(seen)[0].text == f"Green 1.5.0 crashed, {text}"


@pytest.mark.parametrize(
    ("word", "kind", "label"),
    [
        ("restarted", "start", "restart green"),
        ("ended", "crash", "green crashed"),
        ("erring", "failing", "green errs"),
        ("maintenance", "hold", "maintenance"),
        ("recovered", "well", "all well"),
        ("reloaded", "router", "reload"),
        ("reload refused", "failing", "reload refused"),
    ],
)
def test_what_happened_without_a_command(word: str, kind: str, label: str) -> None:
    seen = observation(events=[Event(AT - 30, word, "So it was.", version="green")])
    [note] = annotate(seen)
    assert (note.kind, note.label, note.text, note.at) == (kind, label, "So it was.", AT - 30)


def test_failover_is_one_mark_though_history_and_events_have_it() -> None:
    seen = observation(
        commands=[command("failover", 15, target="green", detail="blue is down")],
        events=[Event(AT - 14, "failover", "Blue is down; green stands in.", version="blue")],
    )
    assert kinds(seen) == [("failover", "green", 15)]


def test_crash_is_one_mark_though_three_places_have_it() -> None:
    crashed = with_version(state(blue="crashed"), "blue", exit_status=3)
    events = [Event(AT - 39, word, "It crashed.", version="blue") for word in ("ended", "crashed")]
    assert kinds(observation(state=crashed, ended_at={"blue": AT - 40}, events=events)) == [("crash", "blue", 40)]


def test_active_version_that_begins_to_fail() -> None:
    seen = observation(minute=snapshot(probes={"blue": probes("++--"), "green": probes("--++")}))
    assert kinds(seen) == [("failing", "blue", 5)]


def test_what_failed_before_it_had_the_traffic_is_no_mark() -> None:
    checks = snapshot(probes={"blue": probes("+-++")})
    assert kinds(observation(minute=checks)) == [("failing", "blue", 10)]
    restarted = with_version(state(), "blue", started_at=AT - 8)
    assert annotate(observation(state=restarted, minute=checks)) == []
    switched = observation(state=state("blue", switched_ago_s=8), minute=checks)
    assert kinds(switched) == [("switch", "blue", 8)]
