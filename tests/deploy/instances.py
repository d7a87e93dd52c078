"""The processes of a version of several, as tests look at them."""

from __future__ import annotations

import os
import signal

from app.state.instances import one_of
from tests.deploy.rehearsal import Rehearsal
from tests.support.waiting import wait_until

__all__ = ["kill", "living", "pid_of", "step"]


def step() -> int:
    """A distance of ports, another one for each process of the tests, that is likely to be free."""
    return 2000 + os.getpid() % 500


def living(rehearsal: Rehearsal, name: str, most: int = 16) -> list[int]:
    """The numbers of a version's processes that live."""
    version = rehearsal.version(name)
    return [number for number in range(1, most + 1) if rehearsal.processes.find(one_of(version, number)).alive]


def pid_of(rehearsal: Rehearsal, name: str, number: int) -> int:
    pid = rehearsal.processes.find(one_of(rehearsal.version(name), number)).pid
    assert pid is not None
    return pid


def kill(rehearsal: Rehearsal, name: str, number: int) -> None:
    """Ends one of a version's processes behind the deployer's back."""
    os.kill(pid_of(rehearsal, name, number), signal.SIGKILL)
    wait_until(lambda: number not in living(rehearsal, name), "its end")
