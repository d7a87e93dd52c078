"""What is in flight on each of several backends, for whatever order of events: workers that count, die and are heired,
lists that grow and shrink, each worker hearing of it when it looks. A drain of one backend reads just this.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.address import Address
from app.metrics.shared import SharedMetrics, monotonic_us

ADDRESSES = tuple(Address("127.0.0.1", port) for port in (8001, 8002, 8003, 8004))
WORKERS = 3

any_worker = st.integers(0, WORKERS - 1)
any_number = st.integers(0, 99)


class Worker:
    """A worker as `Backends` and `Transaction` have it count; `flying` are its rows, each with its address."""

    def __init__(self, metrics: SharedMetrics, count: int) -> None:
        self.slot = metrics.claim_slot(os.getpid())
        self.words = metrics.backends(self.slot, 0)
        self.flying: list[tuple[int, int, bool]] = []
        self.look(count)

    def look(self, count: int) -> None:
        """Takes up a list of so many."""
        self.count = count
        self.words.name(ADDRESSES[:count])

    def start(self, number: int) -> None:
        row = self.slot.start(0, b"GET", b"/", monotonic_us())
        backend, is_chosen = number % self.count, self.count > 1
        if is_chosen:
            self.words.began(backend)
        self.flying.append((row, backend, is_chosen))

    def end(self, number: int) -> None:
        row, backend, is_chosen = self.flying.pop(number % len(self.flying))
        if is_chosen:
            self.words.ended(backend)
        self.slot.finish(row, 0, status=200)

    def retry(self, number: int) -> None:
        """Goes on to another backend, as `move_to` does: it counts there first."""
        at = number % len(self.flying)
        row, backend, is_chosen = self.flying[at]
        if is_chosen and self.count > 1:
            self.words.began(number % self.count)
            self.words.ended(backend)
            self.flying[at] = row, number % self.count, True


class InFlight(RuleBasedStateMachine):
    """Three workers, and up to four backends."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.metrics: SharedMetrics | None = None
        self.workers: list[Worker] = []

    @initialize(count=st.integers(1, len(ADDRESSES)))
    def begin(self, count: int) -> None:
        self.count = count
        self.metrics = SharedMetrics.create_or_attach(Path(self.folder.name) / "m.mmap", 16)
        self.workers = [Worker(self.metrics, count) for _ in range(WORKERS)]

    @rule(count=st.integers(1, len(ADDRESSES)))
    def scale(self, count: int) -> None:
        """The state has another list; nobody has looked yet."""
        self.count = count

    @rule(which=any_worker)
    def look(self, which: int) -> None:
        self.workers[which].look(self.count)

    @rule(which=any_worker, number=any_number)
    def start(self, which: int, number: int) -> None:
        """A claim looks at the state again, so nobody sends by an old list."""
        self.workers[which].look(self.count)
        self.workers[which].start(number)

    @precondition(lambda self: any(worker.flying for worker in self.workers))
    @rule(which=any_worker, number=any_number)
    def end(self, which: int, number: int) -> None:
        if self.workers[which].flying:
            self.workers[which].end(number)

    @precondition(lambda self: any(worker.flying for worker in self.workers))
    @rule(which=any_worker, number=any_number)
    def retry(self, which: int, number: int) -> None:
        if self.workers[which].flying:
            self.workers[which].retry(number)

    @rule(which=any_worker)
    def kill(self, which: int) -> None:
        """kill -9: what it had is over, and its slot goes to another one."""
        self.workers[which].slot.close()
        assert self.metrics is not None
        self.workers[which] = Worker(self.metrics, self.count)

    @invariant()
    def each_backend_has_what_is_in_flight_on_it(self) -> None:
        """Of all that have looked, which is what a drain waits for; never less meanwhile of those that count."""
        for worker in self.workers:
            worker.words.settle()
        assert self.metrics is not None
        found = [row.in_flight for row in self.metrics.backend_rows(0, ADDRESSES[: self.count])]
        known = [worker for worker in self.workers if worker.count == self.count]
        sure = Counter(backend for worker in known for _, backend, _ in worker.flying)
        if self.count > 1 and len(known) == WORKERS:
            assert found == [sure[backend] for backend in range(self.count)]
        elif self.count > 1:
            assert all(found[backend] >= sure[backend] for backend in range(self.count))

    def teardown(self) -> None:
        for worker in self.workers:
            worker.slot.close()
        if self.metrics is not None:
            self.metrics.close()
        self.folder.cleanup()


TestInFlight = InFlight.TestCase
TestInFlight.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
