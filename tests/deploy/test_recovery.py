"""kill -9 of a command anywhere: the old state or the new one, and the next command puts things in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.deploy.deployer import Overrides
from app.deploy.events import BrokenOff
from app.deploy.phases import Operation, Phase
from app.deploy.record.history import History, Intent
from app.operator_errors import OperatorError
from app.state.model import promote, with_version
from tests.deploy.kill_points import calls_of, killed_at
from tests.deploy.rehearsal import Rehearsal
from tests.support.waiting import wait_until

DEAD = 4_194_000
"""No process has this pid: it is above what the kernel hands out in tests."""

STOP = Intent(Operation.STOP, "stop green", "green", "blue", "blue", None, (Phase.DRAINING, Phase.RETIRING))


def active(rehearsal: Rehearsal) -> str | None:
    return rehearsal.state.active_version


def is_in_order(rehearsal: Rehearsal) -> None:
    """What must hold after any command that follows a killed one."""
    state = rehearsal.state
    assert state.active is not None
    assert rehearsal.processes.find(state.active).alive
    assert all(version.status in ("running", "stopped") for version in state.versions.values())
    assert rehearsal.history.unfinished() == []
    assert [link.fault for link in rehearsal.history.verify() if link.fault] == []


# --- every point of a switch -----------------------------------------------------------------------------


def test_a_switch_killed_between_any_two_calls_leaves_the_old_state_or_the_new_one(both: Rehearsal) -> None:
    def switch() -> None:
        both.deployer("switch green").switch("green")

    def back() -> None:
        both.deployer("switch blue").switch("blue")

    calls = calls_of(switch)
    back()
    assert calls > 20
    seen = set()
    for at in range(1, calls + 1):
        before = both.store.path.read_bytes()
        assert killed_at(switch, at, after=False), f"call {at} of {calls}"
        seen.add(active(both))
        if active(both) == "blue":
            # Nothing but the choice of the version was to change, so it must be the very same file.
            assert both.store.path.read_bytes() == before
        back()
        assert active(both) == "blue"
        is_in_order(both)
    assert seen == {"blue", "green"}


MODES: dict[str, Callable[[Rehearsal], None]] = {
    "pause": lambda it: void(it.modes().pause(300)),
    "resume": lambda it: void(it.modes().resume()),
    "maintenance": lambda it: void(it.modes().start_maintenance("Back at nine", 60, ())),
    "preview": lambda it: void(it.modes().preview(None, 60)),
}


def void(_: object) -> None:
    """Drop what a command gives."""


@pytest.mark.parametrize("name", MODES)
def test_a_mode_killed_between_any_two_calls_is_on_or_off(rehearsal: Rehearsal, name: str) -> None:
    rehearsal.store.write(replace(rehearsal.state, active_version="blue"))
    if name == "resume":
        rehearsal.modes().pause(3000)
    old = rehearsal.state

    def command() -> None:
        MODES[name](rehearsal)

    at, changed = 1, 0
    while killed_at(command, at, after=True):
        state = rehearsal.state
        changed += state != old
        rest = replace(state, pause=old.pause, maintenance=old.maintenance, preview_key=old.preview_key)
        assert replace(rest, serial=old.serial) == old
        rehearsal.store.write(old)
        at += 1
    assert at > 15
    assert changed > 0


# --- a deploy, killed at random --------------------------------------------------------------------------


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(points=st.lists(st.tuples(st.integers(1, 110), st.booleans(), st.booleans()), min_size=1, max_size=3))
def test_deploys_killed_at_random_are_finished_or_undone(
    deployments: Callable[..., Rehearsal], points: list[tuple[int, bool, bool]]
) -> None:
    rehearsal = deployments()
    rehearsal.deployer().start("blue", Overrides(release="r0"))
    for number, (at, after, stop_old) in enumerate(points, 1):
        standby = rehearsal.state.standby_version
        killed_at(
            lambda number=number, stop_old=stop_old: rehearsal.deployer("deploy").deploy(  # type: ignore[misc]  # bound early
                Overrides(release=f"r{number}"), stop_old=stop_old
            ),
            at,
            after=after,
        )
        state = rehearsal.state
        assert state.active is not None
        assert rehearsal.processes.find(state.active).alive
        was_switched = state.active_version == standby
        rehearsal.deployer("switch").switch(state.active.name)
        assert rehearsal.state.active_version == state.active.name
        is_in_order(rehearsal)
        other = rehearsal.version(rehearsal.state.standby_version)
        if not was_switched:
            # It never had traffic, so it does not run on unseen.
            assert other.release != f"r{number}" or not rehearsal.processes.find(other).alive
    rehearsal.close()


# --- what is said and done, phase by phase ---------------------------------------------------------------


def leave_behind(
    rehearsal: Rehearsal,
    phase: Phase,
    operation: Operation = Operation.DEPLOY,
    target: str = "green",
    phases: tuple[Phase, ...] = (Phase.LAUNCHING, Phase.GATING, Phase.PROMOTING, Phase.DRAINING, Phase.RETIRING),
) -> None:
    """An entry as a killed command leaves it."""
    remembered = {"release": "r1", "dir": None, "command": None}
    intent = Intent(
        operation,
        f"{operation} {target}",
        target,
        "blue",
        target,
        "r2",
        phases,
        replaces=remembered,
    )
    entry = rehearsal.history.begin(intent)
    rehearsal.history.append({"id": entry.id, "pid": DEAD})
    entry.enter(phase)


def next_command(rehearsal: Rehearsal) -> str:
    """What the next command says about the killed one."""
    rehearsal.modes("resume").resume()
    (found,) = rehearsal.seen(BrokenOff)
    assert found.pid == DEAD
    rehearsal.events.clear()
    rehearsal.modes("resume").resume()
    assert rehearsal.seen(BrokenOff) == []
    return found.left_behind


@pytest.mark.parametrize("phase", [Phase.LAUNCHING, Phase.GATING, Phase.SMOKE_TEST, Phase.PROMOTING])
def test_a_start_that_never_had_traffic_is_undone(both: Rehearsal, phase: Phase) -> None:
    leave_behind(both, phase)
    assert next_command(both) == "green had no traffic yet and was stopped"
    assert (both.version("green").status, both.version("green").release) == ("stopped", "r1")
    assert active(both) == "blue"
    assert both.outcomes()[2:] == [("deploy", "broken off")]


def test_a_start_that_was_never_made_leaves_nothing_to_stop(both: Rehearsal) -> None:
    both.deployer().stop("green")
    leave_behind(both, Phase.LAUNCHING)
    assert next_command(both) == "green was not started"


def test_a_switch_that_was_made_stands(both: Rehearsal) -> None:
    both.store.write(promote(both.state, "green", 1.0))
    leave_behind(both, Phase.PROMOTING)
    assert next_command(both) == "green is active, so it was left as it is"
    assert active(both) == "green"
    assert both.version("green").status == "running"


@pytest.mark.parametrize("phase", [Phase.LINKING, Phase.POST_SWITCH, Phase.WATCHING, Phase.DRAINING, Phase.WRITE_STATE])
def test_traffic_is_not_moved_by_a_recovery(both: Rehearsal, phase: Phase) -> None:
    both.store.write(promote(both.state, "green", 1.0))
    leave_behind(both, phase)
    assert next_command(both)
    assert active(both) == "green"
    assert both.version("blue").status == "running"


def test_a_stop_is_finished(both: Rehearsal) -> None:
    leave_behind(both, Phase.RETIRING, Operation.STOP)
    assert next_command(both) == "green has been stopped now"
    assert both.version("green").status == "stopped"


def test_a_stop_that_was_done_is_only_told(both: Rehearsal) -> None:
    both.deployer().stop("green")
    leave_behind(both, Phase.RETIRING, Operation.STOP)
    assert next_command(both) == "green is stopped"


def test_the_active_version_is_not_stopped_by_a_recovery(both: Rehearsal) -> None:
    leave_behind(both, Phase.RETIRING)
    assert next_command(both) == "blue is active, so it was left running"
    assert both.version("blue").status == "running"


def test_a_restart_that_left_the_active_version_stopped_asks_for_its_start(both: Rehearsal) -> None:
    both.kill("blue")
    wait_until(lambda: not both.processes.find(both.version("blue")).alive, "blue's end")
    leave_behind(both, Phase.CLEARING, Operation.RESTART, "blue")
    assert "blue is active and was left stopped" in next_command(both)
    both.deployer().start("blue")


def test_a_command_that_is_at_work_is_left_alone(both: Rehearsal) -> None:
    intent = Intent(Operation.SWITCH, "switch", "green", "blue", "green", None, (Phase.DRAINING,))
    both.history.begin(intent).enter(Phase.DRAINING)
    both.modes().resume()
    assert both.seen(BrokenOff) == []


def test_a_command_that_drained_on_when_the_wall_clock_was_stepped_is_left_alone(both: Rehearsal) -> None:
    before = History(both.history.path, now=lambda: time.time() - 86_400)
    before.begin(STOP).enter(Phase.RETIRING)
    both.modes("resume").resume()
    assert both.seen(BrokenOff) == []
    assert both.version("green").status == "running"


def test_a_command_whose_pid_another_process_has_got_is_not_at_work(both: Rehearsal) -> None:
    before = History(both.history.path, now=lambda: time.time() + 86_400)  # set back since
    entry = before.begin(STOP)
    before.append({"id": entry.id, "birth": "of-another"})
    entry.enter(Phase.RETIRING)
    both.modes("resume").resume()
    assert [found.left_behind for found in both.seen(BrokenOff)] == ["green has been stopped now"]


def an_open_end(rehearsal: Rehearsal, operation: str) -> bytes:
    """The history as it was when the last command of that kind had come to its last phase."""
    lines = rehearsal.history.path.read_bytes().splitlines(keepends=True)
    (start,) = [entry for entry in rehearsal.history.entries() if entry.operation == operation][-1:]
    ends = [at for at, line in enumerate(lines) if f'"id": "{start.id}"'.encode() in line and b'"outcome"' in line]
    return b"".join(lines[: ends[-1]]).replace(f'"pid": {os.getpid()}'.encode(), f'"pid": {DEAD}'.encode())


def start_anew(rehearsal: Rehearsal) -> None:
    rehearsal.deployer().stop("green")
    rehearsal.deployer().start("green", Overrides(release="r3"))


LAST_COMMANDS: dict[str, Callable[[Rehearsal], None]] = {
    "start": start_anew,
    "restart": lambda it: it.deployer().restart("green"),
    "stop": lambda it: it.deployer().stop("green"),
    "switch": lambda it: it.deployer().switch("green"),
    "deploy": lambda it: it.deployer().deploy(Overrides(release="r3"), stop_old=True),
    "pause": lambda it: void(it.modes().pause(300)),
}


@pytest.mark.parametrize("torn", [b"", b'{"id": "5f0c'], ids=["disk-full", "power-cut"])
@pytest.mark.parametrize("operation", LAST_COMMANDS)
def test_a_command_of_which_only_the_end_is_not_in_the_history_was_done(
    both: Rehearsal, operation: str, torn: bytes
) -> None:
    LAST_COMMANDS[operation](both)
    both.history.path.write_bytes(an_open_end(both, operation) + torn)
    (entry,) = both.history.unfinished()
    before = both.state
    both.events.clear()
    both.deployer().start("blue" if before.active_version == "blue" else "green")
    stands = "the state file says that all of it was done"
    assert both.seen(BrokenOff) == [BrokenOff(entry.command, DEAD, entry.phase or "", stands, has_broken_off=False)]
    assert both.state == before
    assert all(both.processes.find(each).alive == (each.status == "running") for each in before.versions.values())
    assert next(each.outcome for each in both.history.entries() if each.id == entry.id) == "done"


def test_a_start_that_was_killed_before_its_gate_was_passed_is_undone(both: Rehearsal) -> None:
    leave_behind(both, Phase.GATING, Operation.START, phases=(Phase.LAUNCHING, Phase.GATING))
    state = with_version(both.state, "green", status="starting")
    both.store.write(replace(state, changed_by=both.history.unfinished()[0].id))
    assert next_command(both) == "green had no traffic yet and was stopped"


@pytest.mark.parametrize("kind", ["start", "stop"])
def test_a_history_that_is_older_than_the_state_stops_no_process(both: Rehearsal, kind: str) -> None:
    if kind == "stop":
        both.deployer().stop("green")
        both.deployer().start("green", Overrides(release="r3"))
    older = an_open_end(both, kind)
    both.deployer().switch("green")
    both.deployer().switch("blue")
    both.history.path.write_bytes(older)
    (said,) = both.history.unfinished()
    assert "nothing was touched" in next_command(both)
    assert both.processes.find(both.version("green")).alive
    assert both.version("green").release == ("r3" if kind == "stop" else "r2")
    assert next(entry.outcome for entry in both.history.entries() if entry.id == said.id) == "unknown"


def test_a_history_without_the_last_commands_still_tells_of_a_killed_one_that_came_later(both: Rehearsal) -> None:
    both.history.path.write_bytes(b"")
    leave_behind(both, Phase.GATING)
    both.store.write(replace(both.state, changed_by=both.history.unfinished()[0].id))
    assert next_command(both) == "green had no traffic yet and was stopped"


def test_a_state_file_written_by_hand_names_no_command_and_leaves_the_history_in_force(both: Rehearsal) -> None:
    leave_behind(both, Phase.GATING)
    both.store.write(replace(both.state, changed_by=""))
    assert next_command(both) == "green had no traffic yet and was stopped"


def test_what_cannot_be_written_down_is_told_all_the_same(both: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_behind(both, Phase.DRAINING)
    both.history.path.chmod(0o444)
    real = os.open

    def refuse(path: str, flags: int, *rest: int, **named: int) -> int:
        if str(path) == str(both.history.path):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    both.modes().resume()
    assert len(both.seen(BrokenOff)) == 1
    with pytest.raises(OperatorError, match="history"):
        both.deployer().switch("green")
    assert active(both) == "blue"
