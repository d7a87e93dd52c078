"""What /proc says about a process's beginning is what psutil says, to whom other programs of ours ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.state.process_start import is_zombie, start_time
from tests.support.waiting import wait_until

GONE = 4_194_000
"""No process has this pid: it is above what the kernel hands out in tests."""


def test_start_is_what_psutil_says() -> None:
    assert start_time(os.getpid()) == pytest.approx(psutil.Process().create_time(), abs=0.02)
    assert not is_zombie(os.getpid())


def test_process_that_is_gone_has_no_beginning() -> None:
    assert start_time(GONE) is None
    assert is_zombie(GONE)


def test_process_that_nobody_has_buried_is_a_zombie() -> None:
    with subprocess.Popen(["true"]) as ended:
        wait_until(lambda: is_zombie(ended.pid), "its end")
        assert start_time(ended.pid) is not None


def test_name_with_parentheses_and_spaces_confuses_nobody() -> None:
    renamed = "open('/proc/self/comm', 'w').write('a) Z (b'); input()"
    with subprocess.Popen([sys.executable, "-c", renamed], stdin=subprocess.PIPE) as odd:
        name = Path(f"/proc/{odd.pid}/comm")
        wait_until(lambda: name.read_text() == "a) Z (b\n", "its name")
        assert not is_zombie(odd.pid)
        assert start_time(odd.pid) == pytest.approx(psutil.Process(odd.pid).create_time(), abs=0.02)
        odd.communicate(b"\n")
