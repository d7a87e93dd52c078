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
    record = json.loads(pid_file.path.read_text())
    assert record["birth"] == birth(os.getpid())
    assert (record["pid"], record["port"]) == (os.getpid(), 5004)


def test_own_record_is_taken_away(pid_file: PidFile) -> None:
    pid_file.write()
    pid_file.remove()
    assert not pid_file.path.exists()


@pytest.mark.parametrize("text", ['{"pid": 1}', "torn", "[]"])
def test_record_of_somebody_else_stays(pid_file: PidFile, text: str) -> None:
    pid_file.path.write_text(text)
    pid_file.remove()
    assert pid_file.path.read_text() == text
