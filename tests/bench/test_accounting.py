"""What /proc says of a tree of processes, tried on children of our own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.accounting import busy_seconds, cpu_seconds, memory, process_tree
from tests.support.waiting import wait_until

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
child.wait()
input()
"""
BUSY = "import time\nwhile time.process_time() < 0.2: pass\ninput()"


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process with one child that uses 0.2 s of CPU; both end when their input does."""
    process = subprocess.Popen([sys.executable, "-c", PARENT, BUSY], stdin=subprocess.PIPE)
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def test_tree_holds_the_process_and_its_descendants(parent: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: len(process_tree(parent.pid)) == 2, "the child to run")

    assert process_tree(parent.pid)[0] == parent.pid
    assert parent.pid in process_tree(os.getpid())


def test_cpu_time_of_a_child_counts(parent: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: cpu_seconds(parent.pid) >= 0.2, "the child's CPU time to be counted")


def test_memory_of_a_tree_is_more_than_that_of_its_root(parent: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: len(process_tree(parent.pid)) == 2, "the child to run")
    child = process_tree(parent.pid)[1]

    both, alone = memory(parent.pid), memory(child)

    assert both.rss_kib > alone.rss_kib > 1000
    assert 0 < both.pss_kib < both.rss_kib


def test_a_process_that_is_gone_has_used_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert process_tree(process.pid) == []
    assert cpu_seconds(process.pid) == 0
    assert memory(process.pid).rss_kib == 0


def test_cores_have_been_busy_together_as_long_as_each_alone() -> None:
    cores = os.sched_getaffinity(0)

    before = sum(busy_seconds([core]) for core in cores)
    together = busy_seconds(cores)
    after = sum(busy_seconds([core]) for core in cores)

    assert 0 < before <= together + 0.001
    assert together <= after + 0.001
