from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from app.state.last_good import MAX_STATE_BYTES, LastGood
from app.state.model import BlueGreenState, promote
from app.state.store import StateStore
from app.state.watch import StateWatch
from tests.support.waiting import wait_until

BLUE = promote(BlueGreenState(), "blue", 1.0)
GREEN = promote(BLUE, "green", 2.0)


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore(tmp_path / "bg_state.json")


@pytest.fixture
def watch(store: StateStore) -> StateWatch:
    return StateWatch(store.path)


def settle(path: Path) -> None:
    """Wait until the file is so old that its identity is trusted."""
    changed_ns = path.stat().st_ctime_ns
    wait_until(lambda: time.time_ns() - changed_ns > 60_000_000, "a file that is not young")


def test_there_is_no_state_before_the_first_file(watch: StateWatch, store: StateStore) -> None:
    assert watch.current() is None
    assert watch.fault == f"state file {store.path} is missing; no state has been read yet"


def test_a_write_is_seen_at_the_next_call(watch: StateWatch, store: StateStore) -> None:
    for turn in range(200):
        state = promote(BLUE, ("green", "blue")[turn % 2], float(turn))
        store.write(state)
        assert watch.current() == state
    assert watch.fault == ""


def test_a_write_is_seen_though_the_clock_has_not_moved(
    watch: StateWatch, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(BLUE)
    monkeypatch.setattr("app.state.store.time.time_ns", lambda: 10**18)
    for turn in range(50):
        state = promote(BLUE, ("green", "blue")[turn % 2], 1.0)
        store.write(state)
        assert watch.current() == state


def test_an_edit_in_place_within_one_tick_is_seen(watch: StateWatch, store: StateStore) -> None:
    for port in range(6000, 6200):
        with store.path.open("w") as file:  # the same inode and size; often the same time stamp
            file.write(f'{{"active_version": "blue", "versions": {{"blue": {{"port": {port}}}}}}}')
        state = watch.current()
        assert state is not None
        assert state.active is not None
        assert state.active.port == port


def test_an_unchanged_file_is_not_read_again(watch: StateWatch, store: StateStore) -> None:
    store.write(BLUE)
    settle(store.path)
    assert watch.current() is watch.current()


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b'{"active_vers'), "is not usable (not JSON"),
        (lambda path: path.write_bytes(b""), "is not usable (the file is empty)"),
        (lambda path: path.write_bytes(b'{"name": "demo"}'), 'has no "active_version"'),
        (lambda path: path.write_bytes(b" " * (MAX_STATE_BYTES + 1)), "more than any state file"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a regular file"),
        (replace_by_fifo, "is not a regular file"),
        (lambda path: (path.unlink(), path.symlink_to(path.name)), "cannot be read (Too many levels"),
    ],
    ids=["missing", "torn", "empty", "foreign", "huge", "folder", "fifo", "loop"],
)
def test_the_last_good_state_outlives_any_damage(
    watch: StateWatch, store: StateStore, damage: object, why: str
) -> None:
    assert callable(damage)
    store.write(BLUE)
    good = watch.current()
    damage(store.path)
    for _ in range(3):
        assert watch.current() is good
        assert why in watch.fault
        assert watch.fault.endswith("serving the last good state")


def test_the_fault_is_gone_when_the_file_is_good_again(watch: StateWatch, store: StateStore) -> None:
    store.write(BLUE)
    settle(store.path)
    watch.current()
    away = store.path.with_name("away")
    store.path.rename(away)
    watch.current()
    away.rename(store.path)  # the very same file
    assert watch.current() == BLUE
    assert watch.fault == ""


def test_broken_bytes_are_parsed_once(watch: StateWatch, store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.path.write_bytes(b"{")
    settle(store.path)
    assert watch.current() is None
    monkeypatch.setattr("app.state.watch.decode", lambda *_: pytest.fail("parsed again"))
    assert watch.current() is None
    assert "not JSON" in watch.fault


def test_a_file_that_may_not_be_opened_is_tried_again(
    watch: StateWatch, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(BLUE)
    settle(store.path)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert watch.current() is None
        assert "cannot be read (Permission denied)" in watch.fault
    assert watch.current() == BLUE  # what was in the way need not have been the file itself
    assert watch.fault == ""


def test_a_file_that_is_moved_back_is_newer_than_what_came_between(store: StateStore) -> None:
    last_good = LastGood()
    idle, busy = StateWatch(store.path), StateWatch(store.path)
    for watch in (idle, busy):
        watch.share(last_good)
    store.write(BLUE)
    settle(store.path)
    assert (idle.current(), busy.current()) == (BLUE, BLUE)
    away = store.path.with_name("away")
    store.path.rename(away)
    store.write(GREEN)
    assert busy.current() == GREEN
    away.replace(store.path)  # the inode, the size and the time of writing that the idle one knows
    assert idle.current() == BLUE
    store.path.write_bytes(b"")
    assert (idle.current(), busy.current()) == (BLUE, BLUE)


def test_what_another_release_has_published_and_we_cannot_read_is_left(store: StateStore) -> None:
    last_good = LastGood()
    watch = StateWatch(store.path)
    watch.share(last_good)
    store.write(BLUE)
    assert watch.current() == BLUE
    last_good.publish(b'{"schema": 3}')
    store.path.unlink()
    assert watch.current() == BLUE


def test_a_relative_path_stays_where_it_was(store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(BLUE)
    monkeypatch.chdir(tmp_path)
    watch = StateWatch("bg_state.json")
    monkeypatch.chdir("/")
    assert watch.current() == BLUE


def test_an_unchanged_file_is_not_read(watch: StateWatch, store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(BLUE)
    settle(store.path)
    watch.current()
    read: list[bytes] = []
    monkeypatch.setattr("app.state.watch._read", read.append)
    assert [watch.current() for _ in range(100)] == [BLUE] * 100
    assert read == []
