from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app.operator_errors import LockBusy, StateError, StateMissing
from app.state.model import BlueGreenState, promote
from app.state.store import Holder, StateStore, replace_file

BLUE = promote(BlueGreenState(), "blue", 1.0)
GREEN = promote(BLUE, "green", 2.0)


FILES = ["bg_state.json", "bg_state.last_good.json"]


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore(tmp_path / ".local_context" / "bg_state.json")


def test_what_was_written_is_read_again(store: StateStore) -> None:
    store.write(BLUE)
    store.write(GREEN)
    assert store.read() == GREEN


def test_reading_without_a_file_names_the_command_that_makes_one(store: StateStore) -> None:
    with pytest.raises(StateMissing) as caught:
        store.read()
    assert "start blue" in caught.value.hint
    assert store.read_or_new() == BlueGreenState()


def test_a_torn_file_is_named_with_the_reason(store: StateStore) -> None:
    store.write(BLUE)
    store.path.write_bytes(b'{"active_ver')
    with pytest.raises(StateError, match="bg_state.json is not usable: not JSON"):
        store.read_or_new()


def test_a_fifo_in_its_place_makes_nobody_wait(store: StateStore) -> None:
    store.folder.mkdir(parents=True)
    os.mkfifo(store.path)
    with pytest.raises(StateError, match="the file is empty"):
        store.read()


def test_a_folder_in_the_files_place_is_a_state_error(store: StateStore) -> None:
    store.path.mkdir(parents=True)
    with pytest.raises(StateError, match="cannot be read: Is a directory"):
        store.read()
    with pytest.raises(StateError, match="could not be written"):
        store.write(BLUE)


def test_nothing_is_world_writable_whatever_the_umask(store: StateStore) -> None:
    before = os.umask(0)
    try:
        with store.lock("switch green"):
            store.write(BLUE)
    finally:
        os.umask(before)
    for path in (store.folder, store.path, store.lock_path):
        assert not path.stat().st_mode & (stat.S_IWOTH | stat.S_IWGRP), path


def test_the_router_can_read_it_whatever_the_umask(store: StateStore) -> None:
    before = os.umask(0o077)
    try:
        store.write(BLUE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o644


def test_files_belong_to_the_owner_of_the_folder_when_root_writes(store: StateStore) -> None:
    store.folder.mkdir(parents=True)
    owner = 1234 if os.geteuid() == 0 else os.geteuid()
    os.chown(store.folder, owner, -1)
    with store.lock("switch green"):
        store.write(BLUE)
    assert {path.stat().st_uid for path in (store.path, store.lock_path)} == {owner}


def test_time_stamps_always_rise(store: StateStore) -> None:
    stamps = []
    for _ in range(20):
        store.write(BLUE)
        stamps.append(store.path.stat().st_mtime_ns)
    assert stamps == sorted(set(stamps))


def test_a_time_stamp_in_the_future_is_still_passed(store: StateStore) -> None:
    store.write(BLUE)
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(store.path, ns=(ahead, ahead))
    store.write(GREEN)
    assert store.path.stat().st_mtime_ns > ahead


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """What a full disk looks like to a program: a write beyond the limit fails with an OSError."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_full_disk_leaves_the_old_state_and_no_debris(store: StateStore) -> None:
    store.write(BLUE)
    with file_size_limit(100), pytest.raises(StateError, match=r"File too large; the old state stands"):
        store.write(GREEN)
    assert store.read() == BLUE
    assert sorted(os.listdir(store.folder)) == FILES


def test_debris_of_a_killed_command_is_no_obstacle(store: StateStore) -> None:
    store.write(BLUE)
    (store.folder / ".bg_state.json.tmp").write_bytes(b"half of a sta")
    store.write(GREEN)
    assert store.read() == GREEN
    assert sorted(os.listdir(store.folder)) == FILES


@pytest.mark.parametrize("call", ["open", "write", "utime", "fsync", "rename"])
def test_a_failing_step_leaves_the_old_state(store: StateStore, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    store.write(BLUE)

    def fail(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StateError, match="No space left on device; the old state stands"):
            store.write(GREEN)
    assert store.read() == BLUE
    assert sorted(os.listdir(store.folder)) == FILES


WRITING = ("open", "write", "fsync", "close", "utime", "rename", "unlink", "fstat", "fchown", "fchmod", "stat", "mkdir")


@pytest.mark.parametrize("error", [28, 5, 30, 13], ids=["disk full", "input/output error", "read-only", "not allowed"])
def test_a_failure_of_any_call_of_a_write_leaves_the_old_state_or_the_new_one(
    store: StateStore, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Each of the calls that a write makes fails once, in turn; what it has opened is closed again."""
    store.write(BLUE)
    failing, outcomes, close, here = 1, [], os.close, threading.get_ident()
    while True:
        calls = 0

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def call(*args: Any, **kwargs: Any) -> object:
                nonlocal calls
                if threading.get_ident() != here:  # the test runner's own, which talks to its parent
                    return real(*args, **kwargs)
                calls += 1
                if calls == failing:  # noqa: B023  # asked during the turn
                    if real is close:
                        real(*args)  # a close that reports an error has closed all the same
                    raise OSError(error, os.strerror(error))
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in WRITING:
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                store.write(GREEN)
                raised = False
            except StateError:
                raised = True
        state = store.read()
        assert state in (BLUE, GREEN)
        # Told that it failed, nobody must find that it has not.
        assert not raised or state == BLUE
        outcomes.append(raised)
        if calls < failing:
            break
        store.write(BLUE)
        assert sorted(os.listdir(store.folder)) == FILES
        failing += 1
    assert sum(outcomes) >= 5
    assert open_below(store.folder) == []


def open_below(folder: Path) -> list[str]:
    """The files of a folder that this process holds open; what else it opens and closes meanwhile is not asked."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [name for name in found if name.startswith(str(folder))]


def test_readers_never_see_half_a_state(store: StateStore) -> None:
    store.write(BLUE)
    stop = threading.Event()
    seen: set[str | None] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(store.read().active_version)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(300):
            store.write((BLUE, GREEN)[turn % 2])
    finally:
        stop.set()
        reader.join()
    assert seen == {"blue", "green"}


def test_replaced_file_has_exactly_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a longer content than the new one")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"


# --- the lock --------------------------------------------------------------------------------------------


def test_second_command_is_refused_with_the_holders_pid_and_command(store: StateStore) -> None:
    with store.lock("deploy --release=r7"), pytest.raises(LockBusy) as caught, store.lock("switch green"):
        pass
    assert f"pid {os.getpid()} (deploy --release=r7)" in str(caught.value)


def test_second_command_waits_for_the_first_and_says_so(store: StateStore) -> None:
    told: list[Holder | None] = []
    waiting = threading.Event()

    def on_wait(holder: Holder | None) -> None:
        told.append(holder)
        waiting.set()

    order: list[str] = []

    def second() -> None:
        with store.lock("switch green", wait_s=30, on_wait=on_wait):
            order.append("second")

    with store.lock("deploy"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert [holder.command for holder in told if holder] == ["deploy"]


def test_lock_is_free_again_after_an_error(store: StateStore) -> None:
    with pytest.raises(KeyError), store.lock("deploy"):
        raise KeyError
    with store.lock("switch green") as stale:
        assert stale is None
    assert store.lock_path.read_bytes() == b""


HOLD = """
import sys, time
from app.state.store import StateStore
with StateStore(sys.argv[1]).lock("deploy --release=r8"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_of_a_killed_command_is_taken_over_and_the_dead_holder_named(store: StateStore) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(store.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockBusy, match=rf"pid {holder.pid} \(deploy --release=r8\)"), store.lock("x"):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with store.lock("switch green") as stale:
        assert stale is not None
        assert (stale.pid, stale.command) == (holder.pid, "deploy --release=r8")
        assert json.loads(store.lock_path.read_bytes())["command"] == "switch green"


def test_nameless_holder_is_still_respected(store: StateStore) -> None:
    with store.lock("deploy"):
        store.lock_path.write_bytes(b'{"pid": 1')
        with pytest.raises(LockBusy, match="its name is not known yet"), store.lock("x"):
            pass


def test_full_disk_does_not_keep_anybody_from_locking(store: StateStore) -> None:
    store.write(BLUE)
    with file_size_limit(0), store.lock("switch green") as stale:
        assert stale is None


def test_lock_in_a_folder_that_cannot_be_made_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StateError, match="Not a directory|File exists"),
        StateStore(tmp_path / "file" / "s").lock("x"),
    ):
        pass


def test_a_file_system_that_cannot_sync_a_folder_is_tolerated(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[[int], None] = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store.write(BLUE)
    assert store.read() == BLUE
