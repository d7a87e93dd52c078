"""Latency histograms: log-linear buckets over whole microseconds, with an error of at most 1/64.

A value below 64 µs has a bucket of its own. From there on every power of two is cut into 32 equal buckets,
so that a bucket is never wider than 1/32 of its lower edge and its midpoint never further than 1/64 (1.5625
%) from any value inside. 736 buckets reach 134 s; whatever is longer lands in the last one (its exact
maximum is kept elsewhere). Histograms are plain sequences of counts: merging two is adding them, which
loses nothing.

The per-second history keeps *coarse* histograms: eight neighbouring buckets in one (`COARSE_SHIFT`), 92 of
them, with an error of at most 1/8 (12.5 %), or 4 µs below 64 µs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, repeat
from operator import add

LINEAR_LIMIT = 64  # µs: below it one bucket per microsecond
SUB_BUCKET_BITS = 5  # 2**5 = 32 buckets for every power of two above
BUCKETS = 736  # (27 - 6) * 32 + 64: reaches 2**27 µs = 134 s, far above any sensible read timeout
MAX_US = (1 << 27) - 1
COARSE_SHIFT = 3
COARSE_BUCKETS = BUCKETS >> COARSE_SHIFT


def bucket_index(us: int) -> int:
    """The bucket of a duration in µs; negative counts as 0, longer than `MAX_US` as the last bucket."""
    if us < LINEAR_LIMIT:
        return max(us, 0)
    us = min(us, MAX_US)
    shift = us.bit_length() - SUB_BUCKET_BITS - 1
    return (shift << SUB_BUCKET_BITS) + (us >> shift)


def bucket_low(index: int) -> int:
    """The smallest duration in µs that falls into a bucket; `bucket_low(BUCKETS)` is the end of the last
    one.
    """
    if index < LINEAR_LIMIT:
        return index
    shift = (index >> SUB_BUCKET_BITS) - 1
    return (index - (shift << SUB_BUCKET_BITS)) << shift


TABLED_US = 1 << 14


def _bucket_table() -> tuple[int, ...]:
    """`bucket_index` of 0…`TABLED_US` - 1, built bucket by bucket."""
    indexes = range(bucket_index(TABLED_US))
    return tuple(chain.from_iterable(repeat(index, bucket_low(index + 1) - bucket_low(index)) for index in indexes))


BUCKET_TABLE = _bucket_table()
"""The hot path's short cut: 16 ms of durations, looked up in a fifth of the time it takes to compute them."""


def _midpoints(coarse_shift: int) -> tuple[float, ...]:
    """For every bucket of 2**coarse_shift fine ones: the middle of the durations in it, in µs."""
    step = 1 << coarse_shift
    return tuple((bucket_low(index) + bucket_low(index + step) - 1) / 2 for index in range(0, BUCKETS, step))


MIDPOINTS_US = _midpoints(0)
"""What a fine bucket stands for, in µs."""
COARSE_MIDPOINTS_US = _midpoints(COARSE_SHIFT)
"""What a coarse bucket stands for, in µs."""


def merge(histograms: Iterable[Sequence[int]], buckets: int = BUCKETS) -> list[int]:
    """The histogram of everything that is in any of the given ones; all zeros for none."""
    merged = [0] * buckets
    for counts in histograms:
        merged = list(map(add, merged, counts))
    return merged


def quantiles(counts: Sequence[int], fractions: Sequence[float]) -> list[float | None]:
    """The duration in µs at or below which each fraction (0…1] of the values lies; None without values.

    Nearest rank: the answer is the bucket midpoint of the value with rank ceil(fraction · n). Fine and coarse
    histograms are told apart by their length.
    """
    midpoints = MIDPOINTS_US if len(counts) == BUCKETS else COARSE_MIDPOINTS_US
    cumulated = list(accumulate(counts))
    total = cumulated[-1]
    if not total:
        return [None] * len(fractions)
    return [midpoints[_first_reaching(cumulated, rank_of(fraction, total))] for fraction in fractions]


def rank_of(fraction: float, total: int) -> int:
    """The nearest rank, 1…total, of a fraction; computed in millionths so that 0.95 of 100 is 95 and not
    96.
    """
    millionths = round(fraction * 1_000_000)
    return max(1, -(-total * millionths // 1_000_000))


def _first_reaching(cumulated: Sequence[int], rank: int) -> int:
    """The index of the bucket that holds the value of the given rank (binary search)."""
    low, high = 0, len(cumulated) - 1
    while low < high:
        middle = (low + high) // 2
        if cumulated[middle] < rank:
            low = middle + 1
        else:
            high = middle
    return low


def count_up_to(counts: Sequence[int], limits_us: Sequence[int]) -> list[int]:
    """How many values of a fine histogram are at or below each ascending limit in µs, save the last bucket.

    A bucket that straddles a limit is counted when its midpoint is at or below it, so a limit is off by at
    most 1/64. The last bucket also holds everything longer than `MAX_US`; only "+Inf" may count it.
    """
    found: list[int] = []
    index = cumulated = 0
    for limit in limits_us:
        while index < BUCKETS - 1 and MIDPOINTS_US[index] <= limit:
            cumulated += counts[index]
            index += 1
        found.append(cumulated)
    return found
