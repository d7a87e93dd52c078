"""Reading the shared metrics: sums over all slots, live or dead, and what the rings remember.

Reading takes no lock a writer would wait for and writes nothing. A slot is read between two looks at its
generation, so that a reader never mixes a dead owner's account with its heir's.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Collection, Sequence

from app.address import Address
from app.logins.refusals import OUTCOMES
from app.metrics import layout, summary
from app.metrics.backend_rows import BackendRow, Source, backend_rows
from app.metrics.cells import Cell, read_cell, read_tally, spread, together
from app.metrics.file import MappedFile, followed
from app.metrics.layout import C, H, S
from app.metrics.locks import ByteLocks, alive_byte
from app.metrics.rows import cut_requests, failed_requests, live_rows
from app.metrics.snapshot import (
    CutRequest,
    FailedRequest,
    FailoverStatus,
    InFlightRow,
    MetricsHistory,
    Probe,
    Series,
    Snapshot,
    WorkerStats,
)
from app.metrics.split_arms import SplitArm, split_arms
from app.state.model import VERSIONS

_VERSIONS = range(len(layout.VERSION_LABELS))
_ACCOUNT_WORDS = layout.ROWS_AT  # a slot's head and its three version blocks
_ENDS = ("finished", "unclaimed", "aborted")
_WORKER = layout.ROLES.index("worker")
_MOST_TRIES = 100  # a slot changes hands a few times a second at the very worst


class Reader:
    """Reads a mapping of the file; `asking` tells who is alive and must not itself hold any lock."""

    def __init__(self, mapped: MappedFile, asking: ByteLocks) -> None:
        self._asking = asking
        self._use(mapped)

    def _use(self, mapped: MappedFile) -> None:
        self._mapped, self._memory = mapped, mapped.memory
        view = memoryview(mapped.memory)
        self._words: memoryview[int] = view.cast("Q")
        self._narrow: memoryview[int] = view.cast("I")

    def _slots(self) -> range:
        """All slots, those too that a reload to more workers has put behind the others since the file was mapped."""
        if self._words[H["slots"]] > self._mapped.slots:
            self._use(followed(self._mapped))
        return range(self._mapped.slots)

    # Accounts -----------------------------------------------------------------------------------------------

    def snapshot(self, now_us: int, window_s: int | None, fault: str) -> Snapshot:
        """Everything at this moment, with the figures of a lifetime or of a window."""
        totals, workers = self._totals(now_us)
        if window_s is None:
            versions = [totals.stats(version) for version in _VERSIONS]
            overall = totals.overall()
        else:
            cell = self._window(now_us // 1_000_000, window_s, summary.tally(totals))
            in_flight = [totals.in_flight(version) for version in _VERSIONS]
            versions = [summary.window_stats(cell, version, in_flight[version]) for version in _VERSIONS]
            overall = summary.window_overall(cell, sum(in_flight))
        up_since_us = self._words[H["up_since_us"]]
        return Snapshot(
            at=time.time(),
            window_s=window_s,
            uptime_s=(now_us - up_since_us) / 1e6 if up_since_us else 0.0,
            versions=dict(zip(layout.VERSION_LABELS, versions, strict=True)),
            overall=overall,
            rows=self.rows(now_us),
            cuts=self.cuts(),
            workers=workers,
            failover=self.failover(),
            probes={name: self.probes(version) for version, name in enumerate(VERSIONS)},
            state_fault=any(self._words[layout.slot_at(worker.slot) + S["state_fault"]] for worker in workers),
            fault=fault,
            failures=self.failures(now_us),
            log_fault=any(self._words[layout.slot_at(worker.slot) + S["log_fault"]] for worker in workers),
            lost_lines=sum(self._words[layout.slot_at(slot) + S["lost_lines"]] for slot in self._used()),
        )

    def _totals(self, now_us: int) -> tuple[summary.SlotSums, list[WorkerStats]]:
        """The sum over all slots, and who is alive."""
        totals, workers = summary.SlotSums(), list[WorkerStats]()
        for slot in self._used():
            values, alive = self._account(slot)
            totals.add(values)
            if alive:
                workers.append(self._worker(slot, values, now_us))
        return totals, workers

    def tally(self) -> tuple[Cell, list[int]]:
        """The figures of a cell since the file was made, and what is in flight, by version."""
        totals, _ = self._totals(0)
        return summary.tally(totals), [totals.in_flight(version) for version in _VERSIONS]

    def folded_tally(self) -> Cell:
        """The tally as it was when the last second was folded; zero when none was."""
        for _ in range(_MOST_TRIES):
            tally = read_tally(self._words, self._words[H["tally_serial"]])
            if tally is not None:
                return tally
        return Cell()

    def in_flight(self, version: int) -> int:
        """Requests of a version in flight in live slots; 0 when each slot had, at some moment, none."""
        return sum(self._running(slot, version) for slot in self._used())

    def logins(self) -> list[int]:
        """How often logins said each of `OUTCOMES`, in all slots, live or dead."""
        begins = [layout.slot_at(slot) + layout.LOGINS_AT for slot in self._used()]
        return [sum(self._words[at + outcome] for at in begins) for outcome in range(len(OUTCOMES))]

    def split_arms(self) -> tuple[SplitArm, SplitArm]:
        """What became of what was shared out between two versions, in all slots, live or dead."""
        slots = self._used()
        return split_arms(self._words, slots, filter(self._is_alive, slots))

    def held(self) -> int:
        """Requests held back in live slots."""
        at = {slot: layout.slot_at(slot) + S["holding"] for slot in self._used()}
        return sum(self._words[word] for slot, word in at.items() if self._words[word] and self._is_alive(slot))

    def is_state_known(self, serial: int, now_us: int) -> bool:
        """Whether every worker that is alive and does not hang acts by the state of that serial."""
        heads = ((slot, layout.slot_at(slot)) for slot in self._used())
        return all(
            self._words[head + S["state_serial"]] == serial & layout.LARGEST
            for slot, head in heads
            if self._words[head + S["role"]] == _WORKER
            and self._words[head + S["seen_us"]] > now_us - layout.FRESH_US
            and self._is_alive(slot)
        )

    def failover(self) -> FailoverStatus:
        """Whether live slots send requests to the standby, and what the leader knows about it."""
        found = self.diverted_from()
        at_us = self._words[H["failover_at_us"]] if found and self._words[H["failover_from"]] else 0
        return FailoverStatus(
            version=layout.VERSION_LABELS[found[0]] if found else None,
            workers=len(found),
            since=at_us / 1e6 if at_us else None,
            count=self._words[H["failovers"]],
        )

    def diverted_from(self) -> list[int]:
        """The versions whose requests live slots send to the standby, one for each of these slots."""
        found = {slot: word for slot, word in self._diversions().items() if word & 1}
        return [_away_from(word) for slot, word in found.items() if self._is_alive(slot)]

    def latest_diversion(self) -> tuple[int, int]:
        """Of all workers', dead ones included: a number that is higher for a later one, 0 before the first; and from
        which version it was.
        """
        word = max(self._diversions().values(), default=0)
        return word >> 1, _away_from(word)

    def _diversions(self) -> dict[int, int]:
        return {slot: self._words[layout.slot_at(slot) + S["diversion"]] for slot in self._used()}

    def _is_alive(self, slot: int) -> bool:
        return self._asking.is_held(alive_byte(slot))

    def _running(self, slot: int, version: int) -> int:
        """The same for one slot.

        What has ended is read before and after what was started: when it has not moved, the difference is
        the exact number at the moment between. Should a slot never hold still, the last look counts, which
        is too high by what was started during it, and never too low.
        """
        head, block = layout.slot_at(slot), layout.version_at(slot, version)
        for _ in range(_MOST_TRIES):
            generation, ended = self._words[head + S["generation"]], self._ended(block)
            running = self._words[block + C["started"]] - ended
            counts = running > 0 and self._is_alive(slot)
            if (self._words[head + S["generation"]], self._ended(block)) == (generation, ended):
                break
        return running if counts else 0

    def _ended(self, block: int) -> int:
        return sum(self._words[block + C[name]] for name in _ENDS)

    def live_slots(self) -> int:
        """How many slots have a live owner."""
        return sum(map(self._is_alive, self._slots()))

    def _used(self) -> list[int]:
        """The slots that were ever claimed; the others are empty."""
        return [slot for slot in self._slots() if self._words[layout.slot_at(slot) + S["generation"]]]

    def _account(self, slot: int) -> tuple[memoryview[int], bool]:
        """A slot's head and version blocks, and whether its owner lives; a dead owner's in-flight as
        aborted.
        """
        at = layout.slot_at(slot)
        for _ in range(_MOST_TRIES):
            generation = self._words[at + S["generation"]]
            alive = self._is_alive(slot)
            # Copied in one go; no word was ever seen torn (150 million, beside a writer that changed all their bits).
            values = memoryview(bytearray(self._words[at : at + _ACCOUNT_WORDS])).cast("Q")
            if self._words[at + S["generation"]] == generation:
                break
        for version in _VERSIONS:
            block = layout.SLOT_HEAD_WORDS + version * layout.VERSION_WORDS
            ended = values[block + C["finished"]] + values[block + C["unclaimed"]]
            if alive:  # the words of a busy slot are not all of the same moment
                running = self._running(slot, version)
                values[block + C["started"]] = ended + values[block + C["aborted"]] + running
            else:
                values[block + C["aborted"]] = max(0, values[block + C["started"]] - ended)
        return values, alive

    def _worker(self, slot: int, values: memoryview[int], now_us: int) -> WorkerStats:
        blocks = [layout.SLOT_HEAD_WORDS + version * layout.VERSION_WORDS for version in _VERSIONS]
        started, *ended = (sum(values[at + C[name]] for at in blocks) for name in ("started", *_ENDS))
        pid = values[S["pid"]]
        return WorkerStats(
            slot=slot,
            pid=pid,
            role=layout.ROLES[values[S["role"]]],
            started_at=values[S["claimed_at_us"]] / 1e6,
            heartbeat_age_s=max(0.0, (now_us - values[S["seen_us"]]) / 1e6),
            requests=ended[0] - values[S["base_requests"]],
            in_flight=started - sum(ended),
            held=values[S["holding"]],
            queued=sum(self._words[layout.queue_at(slot, version)] for version in range(len(VERSIONS))),
            connections=values[S["connections"]] - 1 if values[S["connections"]] else None,
            is_leader=self._words[H["leader_pid"]] == pid,
        )

    # In flight and probes -----------------------------------------------------------------------------------

    def rows(self, now_us: int) -> list[InFlightRow]:
        """What is in flight in live slots, oldest first."""
        found = [row for slot in self._used() for row in live_rows(*self._named(slot), now_us)]
        return sorted(found, key=lambda row: -row.age_s)

    def cuts(self) -> list[CutRequest]:
        """The last cut requests, newest last; those found in the rows of dead workers last of all."""
        found = {cut for slot in self._used() for cut in cut_requests(*self._named(slot))}
        return sorted(found, key=lambda cut: (cut.at_us is None, cut.at_us, cut.started_us))

    def failures(self, now_us: int) -> list[FailedRequest]:
        """The last failed requests, newest last."""
        ahead = time.time() - now_us / 1e6
        slots = self._used()
        found = [
            one
            for slot in slots
            for one in failed_requests(self._memory, self._words, slot, lambda at_us: ahead + at_us / 1e6)
        ]
        return sorted(found, key=lambda one: one.at)

    def _named(self, slot: int) -> tuple[mmap.mmap, memoryview[int], int, Callable[[int], bool]]:
        return self._memory, self._words, slot, self._is_alive

    def probes(self, version: int) -> list[Probe]:
        """The last probes of version 0 or 1, oldest first."""
        found: list[tuple[int, Probe]] = []
        for index in range(layout.PROBES):
            row = layout.probe_at(version, index)
            serial, at_us, outcome, latency_us, length = self._words[row : row + 5].tolist()
            start = (row + 5) * layout.WORD
            reason = self._memory[start : start + min(length, layout.PROBE_REASON_BYTES)].decode(errors="replace")
            if serial and self._words[row] == serial:
                probe = Probe(at_us / 1e6, bool(outcome >> 16), outcome & 0xFFFF, latency_us / 1000, reason)
                found.append((serial, probe))
        return [probe for _, probe in sorted(found, key=lambda pair: pair[0])]

    def backends(
        self, version: int, addresses: Sequence[Address], drained: Collection[str], now_us: int
    ) -> tuple[BackendRow, ...]:
        """The backends of version 0 or 1; what a worker that hangs or died says of this moment does not count."""
        since = now_us - layout.FRESH_US
        found = ((slot, self._is_alive(slot)) for slot in self._used())
        sources = [
            Source(slot, is_alive, is_alive and self._words[layout.slot_at(slot) + S["seen_us"]] > since)
            for slot, is_alive in found
        ]
        return backend_rows(self._words, sources, version, addresses, now_us, drained)

    # Rings --------------------------------------------------------------------------------------------------

    def _cell(self, ring: layout.Ring, tick: int) -> Cell:
        return read_cell(self._words, self._narrow, ring, tick) or Cell()

    def _window(self, now_s: int, window_s: int, tally: Cell) -> Cell:
        """The sum of the last seconds, the running one included; a long window begins at a full ten.

        What came after the last folded second is the difference between the sums now and then.
        """
        folded = self._words[H["folded_second"]]
        total, first = tally.since(self.folded_tally()), now_s - window_s + 1
        if window_s > layout.SECOND_CELLS:
            tens = range(first // 10, (folded + 1) // 10)
            first = max(first, tens.stop * 10)
            for ten in tens:
                total.add(self._cell(layout.TENS, ten))
        for second in range(first, folded + 1):
            total.add(self._cell(layout.SECONDS, second))
        return total

    def history(self, now_us: int, seconds: int) -> MetricsHistory:
        """The last complete seconds, or tens of seconds, version by version."""
        now_s = now_us // 1_000_000
        step = 1 if seconds <= layout.SECOND_CELLS else 10
        ticks = range(max(0, now_s - seconds) // step, now_s // step)
        wall_minus_monotonic = time.time() - now_us / 1e6
        return MetricsHistory(
            step_s=step,
            times=[round(wall_minus_monotonic + tick * step) for tick in ticks],
            versions=self.series(now_us, ticks, step),
        )

    def series(self, now_us: int, ticks: range, step: int) -> dict[str, Series]:
        """The given steps, version by version; a tick is monotonic seconds divided by `step`, which is 1 or 10."""
        unfolded = self._unfolded(now_us // 1_000_000, ticks.stop * step)
        if step == 1:
            cells = [unfolded.get(tick) or self._cell(layout.SECONDS, tick) for tick in ticks]
        else:
            cells = [self._ten(tick, unfolded) for tick in ticks]
        return {name: _series(cells, version) for version, name in enumerate(layout.VERSION_LABELS)}

    def _unfolded(self, now_s: int, end: int) -> dict[int, Cell]:
        """Second → figures, for the complete seconds before `end` that the leader has not come to yet."""
        folded = self._words[H["folded_second"]]
        if min(now_s, end) - 1 <= folded:
            return {}
        tally, in_flight = self.tally()
        found = dict(spread(tally.since(self.folded_tally()), folded, now_s - 1))
        for cell in found.values():
            cell.set_in_flight(in_flight)
        return found

    def _ten(self, ten: int, unfolded: dict[int, Cell]) -> Cell:
        late = [cell for second, cell in unfolded.items() if second // 10 == ten]
        if not late:
            return self._cell(layout.TENS, ten)
        cells = [*late, *(self._cell(layout.SECONDS, second) for second in range(ten * 10, min(unfolded)))]
        return together(cells)


def _away_from(diversion: int) -> int:
    return (diversion >> 1 & 3) - 1


def _series(cells: list[Cell], version: int) -> Series:
    percentiles = [summary.percentiles_ms(cell.buckets(version), (0.5, 0.95)) for cell in cells]
    return Series(
        requests=[cell.requests(version) for cell in cells],
        failed=[cell.failed(version) for cell in cells],
        p50_ms=[p50 for p50, _ in percentiles],
        p95_ms=[p95 for _, p95 in percentiles],
        in_flight=[cell.in_flight(version) for cell in cells],
    )
