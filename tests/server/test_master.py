"""Which workers the master starts and ends: always so that others serve in their place."""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from gunicorn.config import Config
from gunicorn.workers.workertmp import WorkerTmp

from app.server.master import RouterArbiter
from app.server.worker_flag import WorkerFlag, raise_flag

WORKERS = 2
TIMEOUT_S = 30


@dataclass
class Worker:
    """What the master knows of a worker: its age, and the file in which its heart beats."""

    age: int
    pid: int
    aborted: bool = False
    spawned_at: float = field(default_factory=time.monotonic)
    tmp: WorkerTmp = field(default_factory=lambda: WorkerTmp(Config()))


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def critical(self, text: str, *values: object) -> None:
        self.lines.append(text % values)

    error = critical


class Master(RouterArbiter):
    """Without processes: notes what it would do to them."""

    num_workers = WORKERS  # a property of gunicorn's, which tells its log

    def __init__(self) -> None:
        self.WORKERS: dict[int, Worker] = {}
        self.log = Log()
        self.worker_age = 0
        self.timeout = TIMEOUT_S
        self.told: list[tuple[int, signal.Signals]] = []
        self.is_machine_full = False

    def spawn_worker(self) -> int:
        if self.is_machine_full:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        self.worker_age += 1
        pid = 100 + self.worker_age
        self.WORKERS[pid] = Worker(self.worker_age, pid)
        return pid

    def kill_worker(self, pid: int, sig: signal.Signals) -> None:
        self.told.append((pid, sig))

    def bury(self, pid: int) -> None:
        """The worker has ended."""
        self.WORKERS.pop(pid).tmp.close()

    def look(self, serving: tuple[int, ...] = ()) -> list[int]:
        """A turn of the master's loop, after these have begun to serve; who is told to end in it."""
        for pid in serving:
            self.WORKERS[pid].tmp.notify()
        self.told.clear()
        self.manage_workers()
        assert all(sig == signal.SIGTERM for _, sig in self.told)
        return [pid for pid, _ in self.told]


@pytest.fixture
def master() -> Iterator[Master]:
    """With two workers, 101 and 102, that serve."""
    made = Master()
    made.look()
    made.look((101, 102))
    yield made
    for pid in list(made.WORKERS):
        made.bury(pid)


def ask_to_go(master: Master, pid: int) -> None:
    raise_flag(master.WORKERS[pid].tmp, WorkerFlag.ASKS_TO_GO)


def test_missing_workers_are_started_and_nobody_is_ended(master: Master) -> None:
    assert list(master.WORKERS) == [101, 102]
    master.bury(101)
    assert master.look() == []
    assert list(master.WORKERS) == [102, 103]


def test_after_a_reload_the_old_ones_go_when_as_many_new_ones_serve(master: Master) -> None:
    master._outdated_age = master.worker_age
    assert master.look() == []
    assert list(master.WORKERS) == [101, 102, 103, 104]
    assert master.look((103,)) == [], "one of two is not enough"
    assert master.look((104,)) == [101, 102]
    assert master.look() == [], "each is told once"


def test_reload_during_a_reload_replaces_those_that_have_just_come(master: Master) -> None:
    master._outdated_age = master.worker_age
    master.look()
    master.look((103,))
    master._outdated_age = master.worker_age
    assert master.look() == []
    assert list(master.WORKERS) == [101, 102, 103, 104, 105, 106]
    assert master.look((105, 106)) == [101, 102, 103, 104]


def test_worker_that_asks_to_go_is_ended_when_another_serves(master: Master) -> None:
    ask_to_go(master, 101)
    assert master.look() == []
    assert list(master.WORKERS) == [101, 102, 103]
    assert master.look((103,)) == [101]


def test_not_more_workers_go_at_a_time_than_there_are(master: Master) -> None:
    for pid in (101, 102):
        ask_to_go(master, pid)
    master.look()
    assert master.look((103, 104)) == [101, 102]
    ask_to_go(master, 103)
    assert master.look() == []
    assert list(master.WORKERS) == [101, 102, 103, 104], "two still finish their last requests"
    master.bury(101)
    master.look()
    assert master.look((105,)) == [103]


def test_fewer_workers_end_the_oldest(master: Master) -> None:
    master.num_workers = 1
    assert master.look() == [101]


def test_next_attempt_waits_after_a_worker_that_could_not_boot(master: Master) -> None:
    master.bury(101)
    master._no_boot_before = time.monotonic() + 60
    master.look()
    assert list(master.WORKERS) == [102]
    master._no_boot_before = time.monotonic()
    master.look()
    assert list(master.WORKERS) == [102, 103]


def test_machine_without_room_for_a_worker_leaves_the_others(master: Master) -> None:
    master.bury(101)
    master.is_machine_full = True
    master.look()
    assert list(master.WORKERS) == [102]
    assert "Resource temporarily unavailable. The others serve on" in master.log.lines[0]
    master.is_machine_full = False
    master.look()
    assert list(master.WORKERS) == [102], "not at once"
    master._no_boot_before = time.monotonic()
    master.look()
    assert list(master.WORKERS) == [102, 103]


def test_machine_without_room_is_no_end_for_those_that_serve_since_a_moment_ago(master: Master) -> None:
    """Nobody has looked yet since they began."""
    master._has_served = False
    master.bury(101)
    master.is_machine_full = True
    master.look()
    assert list(master.WORKERS) == [102]


def test_router_that_has_never_served_says_that_there_is_no_room() -> None:
    master = Master()
    master.is_machine_full = True
    with pytest.raises(BlockingIOError):
        master.look()


def test_worker_that_hangs_while_it_boots_is_killed(master: Master) -> None:
    booting = master.spawn_worker()
    master.told.clear()
    master.murder_workers()
    assert master.told == [], "it has its time"
    master.WORKERS[booting].spawned_at -= TIMEOUT_S + 1
    master.murder_workers()
    assert master.told == [(booting, signal.SIGKILL)]
    assert master.log.lines == [f"WORKER TIMEOUT while booting (pid:{booting})"]


def test_without_a_timeout_nobody_is_killed(master: Master) -> None:
    booting = master.spawn_worker()
    master.WORKERS[booting].spawned_at -= 3600
    master.timeout = 0
    master.told.clear()
    master.murder_workers()
    assert master.told == []
