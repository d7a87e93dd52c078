"""The shared metrics file as one object: who makes it, who writes a slot of it, who leads, who reads.

    master    metrics = SharedMetrics.create_or_attach(path, slots_for(workers))     # before any fork
    worker    writer = metrics.claim_slot(os.getpid())                               # after the fork
              row = writer.start(…);  writer.finish(row, …)
    anyone    SharedMetrics.open(path).snapshot()

Nothing in here raises at a router's start: a file that cannot be used leaves `fault` with the reason and
metrics in memory, and traffic flows as ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from app.metrics import file, layout
from app.metrics.file import MappedFile
from app.metrics.layout import C, H, S
from app.metrics.leader import Leader, Turn
from app.metrics.locks import ByteLocks, alive_byte, claim_byte, leader_byte
from app.metrics.reader import Reader
from app.metrics.rows import inherit
from app.metrics.shares import Shares
from app.metrics.snapshot import CutRequest, FailoverStatus, InFlightRow, MetricsHistory, Probe, Series, Snapshot
from app.operator_errors import MetricsError

if TYPE_CHECKING:
    import mmap

    from app.address import Address
    from app.metrics.backend_rows import BackendRow
    from app.metrics.backend_words import BackendWords
    from app.metrics.queue_words import QueueWords
    from app.metrics.slot import SlotWriter
    from app.metrics.split_arms import SplitArm
    from app.metrics.split_clients import SplitClients
    from app.metrics.split_words import SplitWords


def monotonic_us() -> int:
    """The clock of every tag and age in the file, in µs; the same for all processes of one boot."""
    return time.monotonic_ns() // 1000


def until_next_second() -> float:
    """How long to sleep, in seconds, to wake just after the next turn of a second; for the leader's `fold`."""
    return 1.001 - time.monotonic() % 1.0


class SharedMetrics:
    """One router's metrics, shared by its workers and readable from any process of the same user."""

    def __init__(self, path: Path, mapped: MappedFile, clock: Callable[[], int] = monotonic_us) -> None:
        self.path = path
        self._clock = clock
        self._fault = ""
        self._leader: Leader | None = None
        self._leader_locks: ByteLocks | None = None
        self._use(mapped)

    @classmethod
    def create_or_attach(
        cls,
        path: str | Path,
        slots: int,
        clock: Callable[[], int] = monotonic_us,
        before: MappedFile | None = None,
    ) -> Self:
        """The metrics file for writing, made or replaced when there is no usable one; never raises.

        A file with fewer slots than `slots` is given more. Look at `fault` afterwards. `before` is what a router
        that is reloaded counts in so far: it is kept rather than begun anew in memory.
        """
        metrics = cls(Path(path), file.create_or_attach(Path(path), slots, before), clock)
        metrics._note_start()
        return metrics

    @classmethod
    def open(cls, path: str | Path, clock: Callable[[], int] = monotonic_us) -> Self:
        """An existing metrics file, to read from. Raises MetricsError when there is none that can be read."""
        return cls(Path(path), file.open_for_reading(Path(path)), clock)

    @property
    def fault(self) -> str:
        """Why the figures are not (or no longer) in the file under `path`; "" when all is well."""
        if self._mapped.fault or self._fault:
            return self._mapped.fault or self._fault
        if not self._mapped.is_at(self.path):
            return f"the metrics file {self.path} was removed or replaced; `bin/traffic_router reload` makes it anew"
        return ""

    @property
    def is_current(self) -> bool:
        """Whether the mapped file is still the one under `path`; a long-lived reader opens it again when
        not.
        """
        return self._mapped.is_at(self.path)

    @property
    def mapped(self) -> MappedFile:
        """The mapping itself, for the `create_or_attach` of a reload."""
        return self._mapped

    @property
    def slots(self) -> int:
        """How many processes can write at once."""
        return self._mapped.slots

    # Writing ------------------------------------------------------------------------------------------------

    def claim_slot(self, pid: int, role: str = "worker") -> SlotWriter:
        """The calling process's own slot, the lowest free one, to count on from where its last owner stopped.

        Call it in the process that will write, after the fork. Never raises: without a free slot the writer
        counts into memory of its own, and `fault` says so.
        """
        try:
            self._follow()
            locks = ByteLocks(self._mapped.lock_path)
        except OSError as error:
            return self._private_writer(f"no slot of {self.path}: {error.strerror}")
        for slot in range(self.slots):
            if locks.take(claim_byte(slot)):
                return self._take_over(slot, locks, pid, role)
        locks.close()
        return self._private_writer(f"all {self.slots} slots of {self.path} are taken")

    def shares(self, writer: SlotWriter) -> Shares:
        """The connections of all workers, as the owner of `writer` sees and publishes them."""
        return Shares(*self._place(writer))

    def backends(self, writer: SlotWriter, version: int) -> BackendWords:
        """What the workers know of the backends of version 0 or 1, as the owner of `writer` sees and publishes it."""
        from app.metrics.backend_words import BackendWords  # where it is used, see `_writer`

        return BackendWords(*self._place(writer), version)

    def queue(self, writer: SlotWriter, version: int) -> QueueWords:
        """What the workers know of the queue of version 0 or 1, likewise."""
        from app.metrics.queue_words import QueueWords

        return QueueWords(*self._place(writer), version)

    def split(self, writer: SlotWriter) -> SplitWords:
        """Where the owner of `writer` counts what is shared out between two versions."""
        from app.metrics.split_words import SplitWords

        return SplitWords(*self._place(writer))

    def split_clients(self, writer: SlotWriter) -> SplitClients:
        """The clients of a split, which all workers know together."""
        from app.metrics.split_clients import SplitClients

        return SplitClients(writer.words)

    def _place(self, writer: SlotWriter) -> tuple[memoryview[int], int, int]:
        """Where a writer's slot lies: in which words, among how many, which one. One that nobody reads is alone."""
        slots = self.slots if writer.words is self._words else 1
        return writer.words, slots, writer.slot

    def _private_writer(self, fault: str) -> SlotWriter:
        """A writer that nobody reads, so that the process can serve although it cannot be counted."""
        self._fault = f"{fault}; worker {os.getpid()} is not counted"
        mapped = file.in_memory(1, self._fault)
        os.close(mapped.fd)
        return _writer(mapped.memory, memoryview(mapped.memory).cast("Q"), 0, lambda: None)

    def _follow(self) -> None:
        """Maps the file anew when it has become longer, as a reload to more workers makes it.

        One that was deleted or replaced is not followed: the other workers count in what they have mapped, and a
        command that finds only one of us in a new file would take a version for quiet that is not.
        """
        if not self._mapped.fault and self.is_current and self._words[H["slots"]] > self.slots:
            found = file.create_or_attach(self.path, self.slots, before=self._mapped)
            self._let_go()
            self._use(found)
            self._note_start()

    def _take_over(self, slot: int, locks: ByteLocks, pid: int, role: str) -> SlotWriter:
        """Settles the last owner's account and makes the slot ours; may be killed at any point of it.

        Until the alive byte is held, readers see the dead owner: what it started and did not finish is
        aborted. Setting `aborted` to just that, in one store, changes nothing of what they see. The
        generation moves after the alive byte is held and before the first request: a reader that began
        before tries again.
        """
        words, head, now_us = self._words, layout.slot_at(slot), self._clock()
        base_requests = 0
        for version in range(len(layout.VERSION_LABELS)):
            block = layout.version_at(slot, version)
            started, finished, unclaimed = (words[block + C[name]] for name in ("started", "finished", "unclaimed"))
            words[block + C["aborted"]] = started - finished - unclaimed
            base_requests += finished
        inherit(self._mapped.memory, words, slot, now_us)
        words[head + S["pid"]] = pid
        words[head + S["role"]] = layout.ROLES.index(role)
        words[head + S["claimed_at_us"]] = time.time_ns() // 1000
        words[head + S["claimed_us"]] = now_us
        words[head + S["base_requests"]] = base_requests
        words[head + S["connections"]] = 0
        words[head + S["holding"]] = 0
        words[head + S["log_fault"]] = 0
        words[head + S["diversion"]] &= ~1
        words[head + S["state_serial"]] = 0
        for at in range(head + layout.BACKENDS_AT, head + layout.SLOT_WORDS):
            words[at] = 0
        writer = _writer(self._mapped.memory, self._words, slot, locks.close)
        writer.beat(now_us)
        locks.take(alive_byte(slot))
        words[head + S["generation"]] += 1
        return writer

    def _note_start(self) -> None:
        """Starts the uptime when no router writes into the file yet."""
        if not file.has_live_slots(self._mapped):
            self._words[H["up_since_us"]] = self._clock()

    # Leading ------------------------------------------------------------------------------------------------

    def try_lead(self) -> bool:
        """Whether this process is the leader, taking the office if it is free; it is held until `close` or
        death.
        """
        if self._leader is not None:
            return True
        try:
            locks = ByteLocks(self._mapped.lock_path)
        except OSError:
            return False
        if not locks.take(leader_byte()):
            locks.close()
            return False
        self._leader_locks = locks
        self._leader = Leader(self._mapped.memory, self._words, self._narrow, self._reader)
        self._words[H["leader_pid"]] = os.getpid()
        return True

    def fold(self) -> None:
        """The leader's second-by-second work: puts what happened in the second just over into the history.

        Call it right after each turn of a second of the monotonic clock (`until_next_second`). Raises
        MetricsError in a process that does not lead.
        """
        self._led().fold(self._clock())

    def write_probe(self, version: int, at: float, ok: bool, status: int, latency_us: int, reason: str) -> None:
        """Records a health probe of version 0 or 1, made at wall clock second `at`; the last eight are kept.

        Raises MetricsError in a process that does not lead.
        """
        self._led().write_probe(version, at, ok, status, latency_us, reason)

    def follow_failover(self) -> list[Turn]:
        """How requests went over to the standby since the last call, or back. Raises MetricsError in a process that
        does not lead.
        """
        return self._led().follow_failover()

    def _led(self) -> Leader:
        if self._leader is None:
            raise MetricsError("only the leading worker writes the history and the probes")
        return self._leader

    # Reading ------------------------------------------------------------------------------------------------

    def snapshot(self, window_s: int | None = None) -> Snapshot:
        """Everything at this moment: since the file was made, or of the last `window_s` seconds (1…21600)."""
        return self._reader.snapshot(self._clock(), window_s, self.fault)

    def logins(self) -> list[int]:
        """How often logins said each of `app.logins.refusals.OUTCOMES`, since the file was made."""
        return self._reader.logins()

    def split_arms(self) -> tuple[SplitArm, SplitArm]:
        """What became of what was shared out between two versions, blue first, since the file was made."""
        return self._reader.split_arms()

    def history(self, seconds: int = 600) -> MetricsHistory:
        """The last so many complete seconds; in steps of ten seconds from 601 on, up to six hours."""
        history = self._reader.history(self._clock(), seconds)
        file.let_go_of_history(self._mapped.memory)
        return history

    def series(self, ticks: range, step: int) -> dict[str, Series]:
        """Complete steps by their ticks, monotonic seconds divided by `step` (1 for the last ten minutes, or 10).

        For a reader that keeps what it has read and asks only for what is new.
        """
        series = self._reader.series(self._clock(), ticks, step)
        file.let_go_of_history(self._mapped.memory)
        return series

    def in_flight(self, version: str) -> int:
        """How many requests live workers are answering on "blue", "green" or as "router", exactly.

        0 means that every worker had, at some moment during the call, none.
        """
        return self._reader.in_flight(layout.VERSION_LABELS.index(version))

    def held(self) -> int:
        """How many requests live workers hold back at this moment."""
        return self._reader.held()

    def is_state_known(self, serial: int) -> bool:
        """Whether every worker that is well acts by the state of that serial."""
        return self._reader.is_state_known(serial, self._clock())

    def failover(self) -> FailoverStatus:
        """Whether requests go to the standby at this moment, and how often they have."""
        return self._reader.failover()

    def in_flight_rows(self, version: str | None = None) -> list[InFlightRow]:
        """The requests in flight, of one version or all, oldest first; at most 256 of each worker."""
        rows = self._reader.rows(self._clock())
        return [row for row in rows if version is None or row.version == version]

    def cuts(self) -> list[CutRequest]:
        """The last requests whose answer was broken off, newest last."""
        return self._reader.cuts()

    def live_slots(self) -> int:
        """How many processes write. 0 beside a running router means: its metrics are not in this file."""
        return self._reader.live_slots()

    def probes(self, version: int) -> list[Probe]:
        """The last eight health probes of version 0 or 1, oldest first."""
        return self._reader.probes(version)

    def backend_rows(
        self, version: int, addresses: Sequence[Address], drained: Collection[str] = ()
    ) -> tuple[BackendRow, ...]:
        """How each of these backends of version 0 or 1 is; of one that listens at one address only, nobody counts."""
        return self._reader.backends(version, addresses, drained, self._clock())

    # Owning -------------------------------------------------------------------------------------------------

    def _use(self, mapped: MappedFile) -> None:
        self._mapped = mapped
        view = memoryview(mapped.memory)
        self._words: memoryview[int] = view.cast("Q")
        self._narrow: memoryview[int] = view.cast("I")
        self._asking = ByteLocks(mapped.lock_path, may_take=False)
        self._reader = Reader(mapped, self._asking)

    def _let_go(self) -> None:
        """Closes what we opened; the mapping itself goes with its last user, which may be a slot writer."""
        self._asking.close()
        os.close(self._mapped.fd)

    def close(self) -> None:
        """Lets go of the office of leader and of the file; slot writers go on until their own `close`."""
        if self._leader_locks is not None:
            self._leader_locks.close()
            self._leader = self._leader_locks = None
        self._let_go()


def _writer(memory: mmap.mmap, words: memoryview[int], slot: int, release: Callable[[], None]) -> SlotWriter:
    # Imported where it writes: gunicorn's master, which has this module, loads none that a worker may take compiled.
    from app.metrics.slot import SlotWriter

    return SlotWriter(memory, words, slot, release)
