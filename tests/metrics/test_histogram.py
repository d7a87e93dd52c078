"""The latency buckets: complete, exact to the stated bound, and loss-free to merge."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.histogram import (
    BUCKET_TABLE,
    BUCKETS,
    COARSE_BUCKETS,
    COARSE_MIDPOINTS_US,
    COARSE_SHIFT,
    MAX_US,
    MIDPOINTS_US,
    TABLED_US,
    bucket_index,
    bucket_low,
    count_up_to,
    merge,
    quantiles,
    rank_of,
)

durations = st.integers(0, MAX_US)
samples = st.lists(durations, min_size=1, max_size=200)


def counted(values: list[int]) -> list[int]:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket_index(value)] += 1
    return counts


def coarse(counts: list[int]) -> list[int]:
    step = 1 << COARSE_SHIFT
    return [sum(counts[at : at + step]) for at in range(0, BUCKETS, step)]


def nearest_rank(values: list[int], fraction: float) -> int:
    return sorted(values)[rank_of(fraction, len(values)) - 1]


def test_buckets_join_without_gap_or_overlap() -> None:
    assert bucket_low(0) == 0
    assert bucket_low(BUCKETS) == MAX_US + 1
    for index in range(BUCKETS):
        assert bucket_index(bucket_low(index)) == index
        assert bucket_index(bucket_low(index + 1) - 1) == index


def test_table_says_what_the_formula_says() -> None:
    assert len(BUCKET_TABLE) == TABLED_US
    assert all(BUCKET_TABLE[us] == bucket_index(us) for us in range(TABLED_US))


@pytest.mark.parametrize(("us", "index"), [(-1, 0), (MAX_US, BUCKETS - 1), (MAX_US + 1, BUCKETS - 1)])
def test_out_of_range_lands_in_the_outer_buckets(us: int, index: int) -> None:
    assert bucket_index(us) == index


def test_below_64_us_every_microsecond_is_exact() -> None:
    assert [MIDPOINTS_US[bucket_index(us)] for us in range(64)] == list(range(64))


@given(st.integers(1, MAX_US))
def test_midpoint_is_within_a_64th(us: int) -> None:
    assert abs(MIDPOINTS_US[bucket_index(us)] - us) <= us / 64


@given(st.integers(1, MAX_US))
def test_coarse_midpoint_is_within_an_eighth_or_4_us(us: int) -> None:
    assert abs(COARSE_MIDPOINTS_US[bucket_index(us) >> COARSE_SHIFT] - us) <= max(us / 8, 4)


@given(samples, st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_percentile_is_the_nearest_rank_within_the_bound(values: list[int], fraction: float) -> None:
    exact = nearest_rank(values, fraction)
    counts = counted(values)
    [fine] = quantiles(counts, [fraction])
    [rough] = quantiles(coarse(counts), [fraction])
    assert fine is not None and abs(fine - exact) <= exact / 64
    assert rough is not None and abs(rough - exact) <= max(exact / 8, 4)


def test_nothing_measured_has_no_percentiles() -> None:
    assert quantiles([0] * BUCKETS, [0.5, 0.99]) == [None, None]
    assert quantiles([0] * COARSE_BUCKETS, [0.5]) == [None]


@pytest.mark.parametrize(("fraction", "total", "rank"), [(0.95, 100, 95), (0.95, 101, 96), (0.5, 1, 1), (1, 7, 7)])
def test_rank_does_not_suffer_from_binary_fractions(fraction: float, total: int, rank: int) -> None:
    assert rank_of(fraction, total) == rank


@given(st.lists(samples, max_size=4))
def test_merging_is_counting_everything_together(parts: list[list[int]]) -> None:
    together = [value for part in parts for value in part]
    assert merge(counted(part) for part in parts) == counted(together)


@given(samples, st.lists(durations, min_size=1, max_size=10, unique=True))
def test_counts_up_to_a_limit_are_right_within_a_64th(values: list[int], limits: list[int]) -> None:
    limits = sorted(limits)
    for limit, found in zip(limits, count_up_to(counted(values), limits), strict=True):
        surely = sum(value <= math.floor(limit * (1 - 1 / 32)) for value in values)
        possibly = sum(value <= math.ceil(limit * (1 + 1 / 32)) for value in values)
        assert surely <= found <= possibly


def test_durations_beyond_the_last_bucket_count_for_no_limit() -> None:
    assert count_up_to(counted([5, 1 << 40]), [10, MAX_US]) == [1, 1]
