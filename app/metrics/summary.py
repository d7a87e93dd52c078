"""From summed words to the figures of a snapshot. Pure: lists of numbers in, frozen values out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from sys import byteorder

from app.errors import CAUSES
from app.metrics import layout
from app.metrics.cells import Cell
from app.metrics.histogram import BUCKETS, COARSE_SHIFT, merge, quantiles
from app.metrics.layout import C
from app.metrics.snapshot import Latency, Queue, Streams, VersionStats

_VERSIONS = range(len(layout.VERSION_LABELS))
OVERALL = "all"

MAXIMA = ("longest_us", "longest_held_us", "longest_queued_us")
"""The counters that are not added up: of these the highest counts."""


class SlotSums:
    """The sum of any number of slots: counters added, maxima kept.

    All words of a slot are added at once, side by side in one long number: no counter comes near to 2**64, so
    nothing is carried from one into the next. This takes an eighth of the time of adding word by word.
    """

    def __init__(self) -> None:
        self._total = 0
        self._highest = [[0] * len(MAXIMA) for _ in _VERSIONS]

    def add(self, values: memoryview[int]) -> None:
        """Adds a slot's words, from its head to the end of its version blocks; all slots before the first look."""
        self._total += int.from_bytes(values, byteorder)
        for version, highest in enumerate(self._highest):
            at = layout.SLOT_HEAD_WORDS + version * layout.VERSION_WORDS
            self._highest[version] = [
                max(most, values[at + C[name]]) for name, most in zip(MAXIMA, highest, strict=True)
            ]

    @cached_property
    def _blocks(self) -> list[list[int]]:
        """The sums, version by version; those of the slots' heads mean nothing."""
        words = memoryview(self._total.to_bytes(layout.ROWS_AT * layout.WORD, byteorder)).cast("Q").tolist()
        starts = (layout.SLOT_HEAD_WORDS + version * layout.VERSION_WORDS for version in _VERSIONS)
        blocks = [words[at : at + layout.VERSION_WORDS] for at in starts]
        for block, highest in zip(blocks, self._highest, strict=True):
            for name, most in zip(MAXIMA, highest, strict=True):
                block[C[name]] = most
        return blocks

    def block(self, version: int) -> Sequence[int]:
        """All words of a version."""
        return self._blocks[version]

    def in_flight(self, version: int) -> int:
        """Started and not ended in any way."""
        return _in_flight(self._blocks[version])

    def stats(self, version: int) -> VersionStats:
        """The figures of one version."""
        return _stats(layout.VERSION_LABELS[version], self._blocks[version])

    def overall(self) -> VersionStats:
        """The figures of all versions and the router's own answers together."""
        total = list(map(sum, zip(*self._blocks, strict=True)))
        for name in MAXIMA:
            total[C[name]] = max(block[C[name]] for block in self._blocks)
        return _stats(OVERALL, total)


def _in_flight(block: Sequence[int]) -> int:
    return block[C["started"]] - block[C["finished"]] - block[C["unclaimed"]] - block[C["aborted"]]


def _stats(name: str, block: Sequence[int]) -> VersionStats:
    statuses = block[layout.STATUSES_AT : layout.HISTOGRAMS_AT]
    aborted = block[C["aborted"]]
    return VersionStats(
        name=name,
        requests=block[C["finished"]] + aborted,
        failed=block[C["failed"]] + aborted,
        aborted=aborted,
        cut=block[C["cut"]] + aborted,
        in_flight=_in_flight(block),
        retries=block[C["retries"]],
        held=block[C["held"]],
        held_ms=block[C["held_us"]] / 1000,
        bytes_in=block[C["bytes_in"]],
        bytes_out=block[C["bytes_out"]],
        bytes_proxied=block[C["bytes_in"]] + block[C["bytes_out"]],
        code_classes=dict(zip(layout.CODE_CLASSES, _classes(block), strict=True)),
        causes=_causes(block[layout.CAUSES_AT : layout.STATUSES_AT]),
        statuses={code: count for code, count in enumerate(statuses) if count},
        total=_latency(block, 0, block[C["longest_us"]]),
        first_byte=_latency(block, 1),
        upstream=_latency(block, 2),
        holds=_latency(block, 3, block[C["longest_held_us"]]),
        streams=Streams(*(block[C[f"streams_{end}"]] for end in Streams._fields)),
        queue=Queue(block[C["queued"]], block[C["queued_us"]] / 1000, block[C["longest_queued_us"]] / 1000),
    )


def _causes(counts: Sequence[int]) -> dict[str, int]:
    """Cause code → count, of those that happened."""
    return {cause: count for cause, count in zip(CAUSES, counts, strict=False) if count}


def _classes(block: Sequence[int]) -> list[int]:
    """Requests by class of status; the aborted ones had none."""
    at = range(layout.STATUSES_AT, layout.HISTOGRAMS_AT, 100)
    aborted, *others = (sum(block[first : first + 100]) for first in at)
    return [aborted + block[C["aborted"]], *others]


def _latency(block: Sequence[int], which: int, longest_us: int | None = None) -> Latency:
    at = layout.HISTOGRAMS_AT + which * BUCKETS
    return latency(block[at : at + BUCKETS], block[C[f"{layout.LATENCIES[which]}_us"]], longest_us)


def latency(counts: Sequence[int], sum_us: int, longest_us: int | None = None) -> Latency:
    """The figures behind a fine or coarse histogram: no percentile is above the maximum, and neither is the mean.

    Where no exact maximum is known it is the middle of a bucket. The true one may be above that, in the last bucket
    far above; it is never below the mean, so that the mean counts where it says more.
    """
    count = sum(counts)
    mean = sum_us / 1000 / count if count else None
    figures = percentiles_ms(counts, (0.5, 0.9, 0.95, 0.99, 1.0))
    if mean is not None:
        *below, middle = (ms or 0.0 for ms in figures)
        longest_ms = max(middle if longest_us is None else longest_us / 1000, mean)
        figures = [*(min(ms, longest_ms) for ms in below), longest_ms]
    p50, p90, p95, p99, longest = figures
    return Latency(
        count=count,
        sum_ms=sum_us / 1000,
        mean_ms=mean,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=longest,
        counts=counts,
    )


def percentiles_ms(counts: Sequence[int], fractions: Sequence[float]) -> list[float | None]:
    """Percentiles of a fine or coarse histogram in ms."""
    return [None if us is None else us / 1000 for us in quantiles(counts, fractions)]


def window_stats(cell: Cell, version: int, in_flight: int) -> VersionStats:
    """The figures of one version in a window."""
    classes = cell.of_counts(version, 0, len(layout.CODE_CLASSES))
    total_bytes = cell.of_sum("bytes", version)
    return VersionStats(
        name=layout.VERSION_LABELS[version],
        requests=sum(classes),
        failed=cell.failed(version),
        aborted=0,
        cut=0,
        in_flight=in_flight,
        retries=cell.of_counts(version, layout.CELL_RETRIES)[0],
        held=cell.of_counts(version, layout.CELL_HELD)[0],
        held_ms=None,
        bytes_in=None,
        bytes_out=None,
        bytes_proxied=total_bytes,
        code_classes=dict(zip(layout.CODE_CLASSES, classes, strict=True)),
        causes=_causes(cell.of_counts(version, layout.CELL_CAUSES, layout.CAUSE_ROOM)),
        statuses={},
        total=latency(cell.buckets(version), cell.of_sum("total_us", version)),
        first_byte=None,
        upstream=None,
        holds=None,
    )


def window_overall(cell: Cell, in_flight: int) -> VersionStats:
    """The figures of all versions and the router's own answers in a window."""
    width = layout.CELL_COUNTS_PER_VERSION
    together = Cell()
    together.counts[:width] = merge((cell.of_counts(version, 0, width) for version in _VERSIONS), width)
    for name in ("bytes", "total_us"):
        together.sums[layout.CELL_SUMS.index(name) * len(_VERSIONS)] = sum(
            cell.of_sum(name, version) for version in _VERSIONS
        )
    return window_stats(together, 0, in_flight)._replace(name=OVERALL)


def tally(totals: SlotSums) -> Cell:
    """The figures of a cell, counted from the making of the file on."""
    blocks = [totals.block(version) for version in _VERSIONS]
    sums = [
        *(block[C["bytes_in"]] + block[C["bytes_out"]] for block in blocks),
        *(block[C["total_us"]] for block in blocks),
    ]
    return Cell(sums, [count for block in blocks for count in _tally_counts(block)])


def _tally_counts(block: Sequence[int]) -> list[int]:
    """A version's counts in the order of the layout's `CELL_…`; in flight stays 0, it is no sum."""
    fine = block[layout.HISTOGRAMS_AT : layout.HISTOGRAMS_AT + BUCKETS]
    step = 1 << COARSE_SHIFT
    return [
        *_classes(block),
        block[C["failed"]] + block[C["aborted"]],
        0,
        block[C["retries"]],
        block[C["held"]],
        *block[layout.CAUSES_AT : layout.STATUSES_AT],
        *(sum(fine[first : first + step]) for first in range(0, BUCKETS, step)),
    ]
