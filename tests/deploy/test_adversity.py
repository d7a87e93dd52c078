"""Commands in hard times: killed anywhere, raced, on a full or read-only disk, under a clock that jumps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest

from app.deploy.deployer import Deployer, Overrides
from app.deploy.deployment import Deployment
from app.deploy.events import Drained, Event, Launched, Noted, Promoted
from app.deploy.modes import Modes
from app.deploy.processes.process_table import Processes
from app.deploy.record.history import History
from app.operator_errors import LockBusy, OperatorError, StateError
from app.state.store import StateStore
from app.transport.loopback import port_is_open
from tests.deploy.kill_points import calls_of, killed_at
from tests.deploy.rehearsal import FakeTraffic, Rehearsal
from tests.support.forked import fork_child
from tests.support.mounts import mounted, needs_root, read_only

ROOM = 256 << 10
"""Bytes of the small disk."""


def assert_in_order(rehearsal: Rehearsal) -> None:
    """What holds after any command that follows a killed one."""
    state = rehearsal.state
    for version in state.versions.values():
        is_alive = rehearsal.processes.find(version).alive
        assert version.status == ("running" if is_alive else "stopped"), version
    # Where a full disk took the end of a command of this very process, the next one takes it for one at work.
    assert [entry for entry in rehearsal.history.unfinished() if entry.pid != os.getpid()] == []
    assert [link.fault for link in rehearsal.history.verify() if link.fault] == []


# --- kill -9 at every call -------------------------------------------------------------------------------


def void(_: object) -> None:
    """Drop what a command gives."""


COMMANDS: dict[str, Callable[[Rehearsal], None]] = {
    "start": lambda it: it.deployer("start green").start("green"),
    "stop": lambda it: it.deployer("stop green").stop("green"),
    "restart": lambda it: it.deployer("restart green").restart("green"),
    "rollback": lambda it: it.deployer("rollback").rollback(),
    "maintenance off": lambda it: void(it.modes("maintenance off").end_maintenance()),
}

STEPS = {"start": 3, "stop": 2, "restart": 4}
"""Those that start and stop processes take long: every so many of their calls are tried, and other ones each time."""


def prepared(rehearsal: Rehearsal, name: str) -> None:
    """Puts things as they are before the command; this is also the command that comes after a killed one."""
    if name == "maintenance off":
        rehearsal.modes("maintenance on").start_maintenance("", 60, ())
    elif name == "rollback":
        rehearsal.deployer("switch").switch("green")
        rehearsal.deployer("switch").switch("blue")
    elif name == "start":
        rehearsal.deployer("stop green").stop("green")
    else:
        rehearsal.deployer("start green").start("green")


@pytest.mark.parametrize("name", COMMANDS)
def test_command_killed_anywhere_leaves_the_old_state_or_the_new_one(both: Rehearsal, name: str) -> None:
    prepared(both, name)
    calls = calls_of(lambda: COMMANDS[name](both))
    assert calls > 15
    before = both.state
    for at in range(1, calls + 1, STEPS.get(name, 1)):
        prepared(both, name)
        assert_in_order(both)
        killed_at(lambda: COMMANDS[name](both), at, after=bool(at % 2))
        state = both.state
        assert state.active is not None
        assert both.processes.find(state.active).alive
        if name != "rollback":
            assert state.active_version == before.active_version
        # A rollback that came through leaves its mark, and nothing else.
        rest = replace(state.version("blue"), rolled_back_at=before.version("blue").rolled_back_at)
        assert rest == before.version("blue"), "nobody touched it"
    prepared(both, name)
    assert_in_order(both)


# --- two commands at once --------------------------------------------------------------------------------


def test_twenty_switches_at_once_come_one_after_the_other(both: Rehearsal) -> None:
    """Each waits for its turn; the last one in the history is what holds."""
    ways = ["green", "blue"] * 10
    pids = [fork_child(lambda name=way: both.deployer(f"switch {name}").switch(name)) for way in ways]  # type: ignore[misc]  # bound early
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 20
    switches = both.history.entries()[-20:]
    assert [entry.outcome for entry in switches] == ["done"] * 20
    assert sorted(str(entry.target) for entry in switches) == sorted(ways)
    assert [entry.came_from for entry in switches[1:]] == [entry.goes_to for entry in switches[:-1]]
    assert both.state.active_version == switches[-1].goes_to
    assert_in_order(both)


def test_command_that_does_not_get_its_turn_says_who_is_at_work(both: Rehearsal) -> None:
    before = both.store.path.read_bytes()
    with both.store.lock("deploy --release=r9"):
        with pytest.raises(LockBusy, match=rf"pid {os.getpid()} \(deploy --release=r9\)") as caught:
            both.deployer("switch", lock_wait_s=0.1).switch("green")
        assert "status" in caught.value.hint
    assert both.store.path.read_bytes() == before


# --- disks -----------------------------------------------------------------------------------------------


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Iterator[Rehearsal]:
    """Both versions run; state, history and records are on a disk of their own."""
    with mounted(tmp_path / "disk", f"size={ROOM}"):
        rehearsal = Rehearsal(tmp_path / "disk")
        try:
            rehearsal.deployer().start("blue")
            rehearsal.deployer().start("green")
            yield rehearsal
        finally:
            rehearsal.close()


def fill(folder: Path) -> Path:
    """Takes all the room there is."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(512))
            except OSError:
                return path


SWITCHES: dict[str, Callable[[Rehearsal], object]] = {
    "switch": lambda it: it.deployer().switch("green"),
    "pause": lambda it: it.modes().pause(60),
    "maintenance": lambda it: it.modes().start_maintenance("", 60, ()),
    "stop": lambda it: it.deployer().stop("green"),
    "deploy": lambda it: it.deployer().deploy(),
}


@needs_root
@pytest.mark.parametrize("name", SWITCHES)
def test_full_disk_changes_nothing_and_is_said(on_small_disk: Rehearsal, name: str) -> None:
    before = on_small_disk.store.path.read_bytes()
    ballast = fill(on_small_disk.home)
    with pytest.raises(StateError, match="No space left on device") as caught:
        SWITCHES[name](on_small_disk)
    assert caught.value.hint.startswith("df -h ")
    assert on_small_disk.store.path.read_bytes() == before
    assert on_small_disk.processes.find(on_small_disk.version("green")).alive
    ballast.unlink()
    SWITCHES[name](on_small_disk)
    assert_in_order(on_small_disk)
    assert on_small_disk.store.path.read_bytes() != before


@needs_root
@pytest.mark.parametrize("name", SWITCHES)
def test_disk_that_fills_up_during_a_command_leaves_the_old_state_or_the_new_one(
    on_small_disk: Rehearsal, name: str
) -> None:
    """Whatever is the first thing that finds no room any more."""
    outcomes = set()
    for spare in range(0, 12 * 4096, 4096):
        before = on_small_disk.state
        ballast = fill(on_small_disk.home)
        os.truncate(ballast, max(0, ballast.stat().st_size - spare))
        try:
            SWITCHES[name](on_small_disk)
            outcomes.add("done")
        except StateError:
            outcomes.add("failed")
            left = on_small_disk.state
            assert left.active_version == before.active_version or name in ("switch", "deploy")
        ballast.unlink()
        on_small_disk.deployer("start green").start("green")
        on_small_disk.deployer("switch blue").switch("blue")
        on_small_disk.modes("resume").resume()
        on_small_disk.modes("maintenance off").end_maintenance()
        assert_in_order(on_small_disk)
    assert outcomes == {"done", "failed"}


@needs_root
@pytest.mark.parametrize("name", SWITCHES)
def test_read_only_disk_changes_nothing_and_is_said(on_small_disk: Rehearsal, tmp_path: Path, name: str) -> None:
    before = on_small_disk.store.path.read_bytes()
    with read_only(on_small_disk.home, tmp_path / "view") as view:
        refused = seen_from(on_small_disk, view)
        with pytest.raises(StateError, match="Read-only file system") as caught:
            SWITCHES[name](refused)
    assert caught.value.hint.startswith("ls -ld ")
    assert on_small_disk.store.path.read_bytes() == before
    assert on_small_disk.processes.find(on_small_disk.version("green")).alive
    SWITCHES[name](on_small_disk)
    assert_in_order(on_small_disk)


def filling(rehearsal: Rehearsal, kind: type[Event]) -> Deployer:
    """A deployer whose disk is full from the first event of that kind on."""
    is_full: list[Path] = []

    def report(event: Event) -> None:
        rehearsal.events.append(event)
        if isinstance(event, kind) and not is_full:
            is_full.append(fill(rehearsal.home))

    return Deployer(replace(rehearsal.deployment(), report=report), rehearsal.history, "deploy")


@needs_root
def test_full_disk_keeps_nobody_from_stopping_what_was_started(on_small_disk: Rehearsal) -> None:
    on_small_disk.deployer().stop("green")
    on_small_disk.app = replace(on_small_disk.app, health_timeout=0.5, start_timeout=0.5)
    (on_small_disk.home / "broken").touch()
    with pytest.raises(OperatorError):
        filling(on_small_disk, Launched).deploy(Overrides(release="r3"))
    assert not port_is_open(on_small_disk.ports["green"])
    assert on_small_disk.state.active_version == "blue"
    (on_small_disk.home / "ballast").unlink()
    (on_small_disk.home / "broken").unlink()
    on_small_disk.app = replace(on_small_disk.app, start_timeout=10)
    on_small_disk.deployer("status").start("green")
    assert_in_order(on_small_disk)


def test_history_without_room_after_the_switch_does_not_end_the_deploy(both: Rehearsal) -> None:
    path, kept = both.history.path, both.history.path.with_suffix(".kept")

    def report(event: Event) -> None:
        both.events.append(event)
        if isinstance(event, Promoted):
            path.rename(kept)
            path.symlink_to("/dev/full")

    both.traffic = FakeTraffic({"blue": [0, 0, 1, 0]})
    Deployer(replace(both.deployment(), report=report), both.history, "deploy").deploy(Overrides(release="r3"))
    assert both.state.active_version == "green"
    assert [event.version for event in both.seen(Drained)] == ["green", "blue"]
    assert any(event.warns and "No space left on device" in event.text for event in both.seen(Noted))
    kept.rename(path)
    both.deployer("start green").start("green")
    assert_in_order(both)


def seen_from(rehearsal: Rehearsal, home: Path) -> Rehearsal:
    """The same deployment, its folder being mounted elsewhere."""
    other = copy(rehearsal)
    other.store = StateStore(home / "state" / "bg_state.json")
    other.processes = Processes(other.store.folder)
    other.history = History(other.store.folder / "history.jsonl")
    return other


# --- clocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0], ids=["back", "forth"])
def test_clock_that_jumps_confuses_nobody(both: Rehearsal, jump_s: float) -> None:
    both.deployer("switch green").switch("green")
    both.modes("pause").pause(60)
    pause, history = both.state.pause, History(both.history.path, now=lambda: time.time() + jump_s)
    assert pause is not None
    assert not pause.holds(time.time() + jump_s), "nobody is held for a day"

    def deployment() -> Deployment:
        return replace(both.deployment(), now=lambda: time.time() + jump_s)

    Deployer(deployment(), history, "rollback").rollback()
    assert (both.state.active_version, both.state.pause) == ("blue", None)
    pause = Modes(deployment(), history, "pause", 10.0).pause(60)
    assert pause.holds(time.time() + jump_s + 30)
    Modes(deployment(), history, "resume", 10.0).resume()
    entries = both.history.entries()
    assert [entry.command for entry in entries][-5:] == ["switch green", "pause", "rollback", "pause", "resume"]
    assert all(entry.duration_s is not None and 0 <= entry.duration_s < 60 for entry in entries)
    assert_in_order(both)
