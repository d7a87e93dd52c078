"""Routers that replace their own master: found by the pid file, ended by it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import psutil

from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

__all__ = ["has_ended", "master_pid", "record", "until_ended"]


def record(router: RouterProcess) -> dict[str, object]:
    """The master's record; empty when there is none."""
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, object] = json.loads((router.folder / "router.json").read_text())
        return found
    return {}


def master_pid(router: RouterProcess) -> int:
    """The pid of the master in charge; 0 when there is none."""
    return int(str(record(router).get("pid", 0)))


def has_ended(pid: int) -> bool:
    """Whether a process, ours or one that nobody waits for, has come to its end."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def until_ended(router: RouterProcess) -> Iterator[RouterProcess]:
    """Ends, after the block, whatever master is in charge by then, and the workers with it."""
    try:
        yield router
    finally:
        pid = master_pid(router)
        if pid and not has_ended(pid):
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            process.terminate()
            with contextlib.suppress(AssertionError):
                wait_until(lambda: all(has_ended(member.pid) for member in family), "its end", 15)
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        router.stop()
