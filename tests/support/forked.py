"""Real child processes by `fork`, as gunicorn makes its workers: cheap to start, and always reaped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def fork_child(work: Callable[[], None]) -> int:
    """Runs `work` in a child process and returns its pid; the child never comes back into the test."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def kill_child(pid: int) -> None:
    """kill -9, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    """A child for the length of a with block; killed at its end."""
    pid = fork_child(work)
    try:
        yield pid
    finally:
        kill_child(pid)
