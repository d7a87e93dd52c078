"""Killing a command between any two of its system calls that change something on disk or start a process.

`outcome_when_killed_at` runs a command in a forked child in which the functions below are counted, and the
child ends itself with SIGKILL before, or right after, the call of a given number.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any, Final

from tests.support.forked import fork_child

COUNTED: Final = ("open", "write", "pwrite", "fsync", "rename", "unlink", "utime", "ftruncate", "close")


class KillPoint:
    """Counts calls in this process, and ends it at call number `at` (from 1); 0 only counts."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._at, self._after, self.seen = at, after, 0

    def arm(self) -> None:
        """Put counting functions in the places of the real ones; for a process that will not live long."""
        for name in COUNTED:
            setattr(os, name, self._counted(getattr(os, name)))
        subprocess.Popen.__init__ = self._counted(subprocess.Popen.__init__)  # type: ignore[method-assign]  # in the child only

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:  # stands in for functions of any form
        def call(*args: Any, **kwargs: Any) -> Any:
            self.seen += 1
            is_it = self.seen == self._at  # asked now, for the real call may make others
            if is_it and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*args, **kwargs)
            finally:
                if is_it and self._after:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call


def killed_at(command: Callable[[], None], at: int, *, after: bool) -> bool:
    """Whether a command was killed at its call of that number; False when it came to its end before."""

    def work() -> None:
        KillPoint(at, after=after).arm()
        command()

    pid = fork_child(work)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def calls_of(command: Callable[[], None]) -> int:
    """How many counted calls a command makes; it is carried out, in a child."""
    reader, writer = os.pipe()

    def work() -> None:
        point = KillPoint(0, after=False)
        write = os.write
        point.arm()
        command()
        write(writer, str(point.seen).encode())

    pid = fork_child(work)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    assert os.waitpid(pid, 0)[1] == 0
    return int(text)
