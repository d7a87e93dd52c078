"""The record of a master: that it is told from another process with the same pid, and leaves others' records alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from app.server.pid_file import PidFile
from app.state.process_birth import birth


@pytest.fixture
def pid_file(tmp_path: Path) -> PidFile:
    return PidFile(tmp_path / "router.pid", 5004, "0.0.0.0:5004")


def test_start_is_the_one_that_the_commands_will_find(pid_file: PidFile) -> None:
    pid_file.write()
    record = json.loads(pid_file.record_path.read_text())
    assert record["birth"] == birth(os.getpid())
    assert (record["pid"], record["port"]) == (os.getpid(), 5004)


def test_pid_file_is_for_kill_and_nothing_else(pid_file: PidFile) -> None:
    pid_file.write()
    assert pid_file.path.read_text() == f"{os.getpid()}\n"


def test_files_that_are_links_are_followed(pid_file: PidFile, tmp_path: Path) -> None:
    """As Capistrano's `linked_files` are."""
    shared = tmp_path / "shared"
    shared.mkdir()
    for path in (pid_file.path, pid_file.record_path):
        path.symlink_to(shared / path.name)
    pid_file.write()
    assert sorted(path.name for path in shared.iterdir()) == ["router.json", "router.pid"]
    assert pid_file.path.is_symlink()
    assert pid_file.owner() == os.getpid()
    pid_file.remove()
    assert list(shared.iterdir()) == []


def test_master_of_an_older_release_finds_its_successor_where_it_looks(pid_file: PidFile) -> None:
    """It takes the signal to end for somebody else's, and ends both, unless the pid file names the new one."""
    pid_file.path.write_text('{"pid": 1, "address": "0.0.0.0:5004"}')
    assert pid_file.held_address() == "0.0.0.0:5004"
    pid_file.write(to_older=True)
    assert json.loads(pid_file.path.read_text())["pid"] == os.getpid() == pid_file.owner()
    pid_file.write()
    assert pid_file.path.read_text() == f"{os.getpid()}\n"
    assert pid_file.owner() == os.getpid()


def test_own_record_is_taken_away(pid_file: PidFile) -> None:
    pid_file.write()
    pid_file.remove()
    assert list(pid_file.path.parent.iterdir()) == []


@pytest.mark.parametrize("text", ['{"pid": 1}', "torn", "[]"])
def test_record_of_somebody_else_stays(pid_file: PidFile, text: str) -> None:
    pid_file.path.write_text(text)
    pid_file.remove()
    assert pid_file.path.read_text() == text
