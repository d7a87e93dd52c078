"""As many workers as there are to be: each is told to end only when another one serves in its place."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from app.server.worker_flag import WorkerFlag, has_flag

__all__ = ["ENDING", "WorkerManager", "serves", "signals_kept_waiting"]

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_BOOT_PAUSE_S = 1.0
"""Between two attempts at a worker that could not boot while others serve."""


class WorkerManager(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """The part of the master that starts workers, ends them and buries them."""

    _outdated_age = 0  # workers up to this age have the settings of before the last reload
    _has_served = False
    _no_boot_before = 0.0  # monotonic seconds

    def manage_workers(self) -> None:
        """Starts workers where some are missing; ends those that others have replaced."""
        wanted = sorted(filter(self._is_wanted, self.WORKERS.values()), key=lambda worker: worker.age)
        serving = sum(map(serves, wanted))
        self._has_served = self._has_served or serving > 0
        if len(wanted) < self.num_workers:
            self._spawn(self.num_workers - len(wanted))
        elif serving >= self.num_workers:
            replaced = [worker for worker in self.WORKERS.values() if not self._is_wanted(worker)]
            for worker in replaced + wanted[: len(wanted) - self.num_workers]:
                self._tell_to_end(worker)

    def _spawn(self, missing: int) -> None:
        if time.monotonic() < self._no_boot_before:
            return
        try:
            for _ in range(missing):
                self.spawn_worker()
        except OSError as error:  # no room for a process or its files; gunicorn would end the others for it
            if not self._has_served:
                raise
            self._wait_with_boots(f"No worker can be started: {error}.")

    def _wait_with_boots(self, fault: str) -> None:
        self._no_boot_before = time.monotonic() + _BOOT_PAUSE_S
        self.log.error("%s The others serve on; next attempt in %g s", fault, _BOOT_PAUSE_S)

    def _is_wanted(self, worker: Any) -> bool:
        """Whether a worker counts; the others serve on until they are replaced."""
        if worker.age <= self._outdated_age or _was_told(worker):
            return False
        # Not more of them at a time than there are workers: each may take long to finish its last requests.
        asks_to_go = has_flag(worker.tmp, WorkerFlag.ASKS_TO_GO)
        return not (asks_to_go and sum(map(_was_told, self.WORKERS.values())) < self.num_workers)

    def _tell_to_end(self, worker: Any) -> None:
        if not _was_told(worker):
            worker.was_told = True
            self.kill_worker(worker.pid, signal.SIGTERM)

    def spawn_worker(self) -> int:
        """Starts a worker. In the child this does not return."""
        with signals_kept_waiting():
            pid: int = super().spawn_worker()
        self.WORKERS[pid].spawned_at = time.monotonic()
        return pid

    def reset_signals(self) -> None:
        """In a new worker or master, first of all: until it has handlers of its own a signal to end just ends it."""
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def murder_workers(self) -> None:
        """Ends workers that hang; gunicorn's own rule looks only at those that have come to serve."""
        super().murder_workers()
        latest = time.monotonic() - self.timeout
        for pid, worker in list(self.WORKERS.items()):
            if self.timeout and not _has_beaten(worker) and worker.spawned_at < latest:
                self.log.critical("WORKER TIMEOUT while booting (pid:%s)", pid)
                self.kill_worker(pid, signal.SIGKILL)

    def reap_workers(self) -> None:
        """Buries the dead. One that could not boot halts a router that has never served, and no other."""
        while True:
            before = dict(self.WORKERS)
            try:
                super().reap_workers()
                return
            except HaltServer as halt:
                if self.master_pid or not self._has_served:
                    raise
                self._wait_with_boots(halt.reason)
            finally:
                for pid in before.keys() - self.WORKERS.keys():
                    before[pid].tmp.close()  # left open where gunicorn would have halted


@contextlib.contextmanager
def signals_kept_waiting() -> Iterator[None]:
    """Around a fork: the child begins with our handlers, and a signal to end would be lost in its copy of our queue."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _has_beaten(worker: Any) -> bool:
    """Whether a worker's heart has begun to beat, which is when it accepts connections.

    Its file has the wall clock's time when it is made, and the monotonic clock's from the first beat on.
    """
    try:
        return bool(worker.tmp.last_update() < time.time() / 2)
    except (OSError, ValueError):  # closed: it is dead
        return False


def serves(worker: Any) -> bool:
    """Whether a worker takes connections."""
    return _has_beaten(worker) and not worker.aborted


def _was_told(worker: Any) -> bool:
    return getattr(worker, "was_told", False)
