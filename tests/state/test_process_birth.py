"""A process is told from every other one that had or will have its pid, whatever becomes of the wall clock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.state import process_birth
from app.state.process_birth import birth, is_zombie
from tests.support.waiting import wait_until

GONE = 4_194_000
"""No process has this pid: it is above what the kernel hands out in tests."""


def is_born_when_psutil_says(pid: int) -> bool:
    """Whether the ticks count from the boot to the process's beginning; psutil's times move with the clock a little."""
    ticks = int((birth(pid) or "").rpartition("-")[2])
    since_boot_s = psutil.Process(pid).create_time() - psutil.boot_time()
    return abs(ticks / os.sysconf("SC_CLK_TCK") - since_boot_s) < 2


def test_birth_is_when_psutil_says() -> None:
    assert is_born_when_psutil_says(os.getpid())
    assert not is_zombie(os.getpid())


def test_no_other_boot_has_the_same_birth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process_birth, "_BOOT_ID", tmp_path / "boot_id")
    unknown = birth(os.getpid())
    (tmp_path / "boot_id").write_text("9f1c60d2-0000-4000-8000-000000000000\n")
    assert birth(os.getpid()) == f"9f1c60d2{unknown}"  # a kernel that does not tell its boot still tells its ticks


def test_step_of_the_wall_clock_changes_nobodys_birth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel counts its boot's time back from the wall clock, and so moves it whenever that is set."""
    before, read = birth(os.getpid()), Path.read_text

    def read_after_a_step(path: Path, **how: str) -> str:
        return re.sub("^btime .*$", "btime 86400", read(path, **how), flags=re.MULTILINE)

    monkeypatch.setattr(Path, "read_text", read_after_a_step)
    assert birth(os.getpid()) == before


def test_process_that_is_gone_has_no_birth() -> None:
    assert birth(GONE) is None
    assert is_zombie(GONE)


def test_process_that_nobody_has_buried_is_a_zombie() -> None:
    with subprocess.Popen(["true"]) as ended:
        wait_until(lambda: is_zombie(ended.pid), "its end")
        assert birth(ended.pid) is not None


def test_name_with_parentheses_and_spaces_confuses_nobody() -> None:
    renamed = "open('/proc/self/comm', 'w').write('a) Z (b'); input()"
    with subprocess.Popen([sys.executable, "-c", renamed], stdin=subprocess.PIPE) as odd:
        name = Path(f"/proc/{odd.pid}/comm")
        wait_until(lambda: name.read_text() == "a) Z (b\n", "its name")
        assert not is_zombie(odd.pid)
        assert is_born_when_psutil_says(odd.pid)
        odd.communicate(b"\n")
