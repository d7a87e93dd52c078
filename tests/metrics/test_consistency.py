"""No figure contradicts another: percentiles ascend, and neither they nor the mean are above the maximum."""

from __future__ import annotations

import json
from random import Random

import pytest

from app.cli.terminal import ms_text
from app.metrics.exposition import as_json, average_ms, rounded
from app.metrics.histogram import BUCKETS, COARSE_BUCKETS, COARSE_SHIFT, bucket_index
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from app.metrics.snapshot import Latency
from app.metrics.summary import latency
from tests.metrics.conftest import Answer
from tests.support.fake_clock import FakeClock

LONGEST_US = (1, 63, 900, 50_000, 3_000_000, 90_000_000, 3_600_000_000)


def check(found: Latency) -> None:
    figures = [found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms, found.max_ms]
    known = [ms for ms in figures if ms is not None]
    assert found.mean_ms is not None and found.max_ms is not None
    assert known == sorted(known)
    assert found.mean_ms <= found.max_ms
    shown = [rounded(ms) for ms in known]
    assert shown == sorted(shown)
    assert average_ms(found) <= shown[-1]
    assert average_ms(found) == round(average_ms(found), 1)
    assert average_ms(found) == pytest.approx(found.mean_ms, abs=0.1)


@pytest.mark.parametrize("is_exact", [True, False], ids=["exact", "bucket"])
@pytest.mark.parametrize("shift", [0, COARSE_SHIFT], ids=["lifetime", "window"])
@pytest.mark.parametrize("most_us", LONGEST_US)
def test_of_any_durations(most_us: int, shift: int, is_exact: bool) -> None:
    random = Random(most_us)
    for _ in range(200):
        durations = [random.randint(0, most_us) for _ in range(random.choice((1, 1, 2, 7, 40)))]
        counts = [0] * (COARSE_BUCKETS if shift else BUCKETS)
        for us in durations:
            counts[bucket_index(us) >> shift] += 1
        check(latency(counts, sum(durations), max(durations) if is_exact else None))


def test_a_mean_that_is_read_a_moment_later_than_the_maximum() -> None:
    """The words of a busy slot are not all of one moment."""
    counts = [0] * BUCKETS
    counts[bucket_index(1000)] = 1
    check(latency(counts, 5000, 1000))


def test_of_what_the_router_says(metrics: SharedMetrics, writer: SlotWriter, answer: Answer, clock: FakeClock) -> None:
    """Each of these was an average above its maximum: in a bucket's upper half, rounded, and past the last bucket."""
    for total_us in (123_460, 9_970, 61, 600_000_000):
        answer(total_us=total_us)
        for window_s in (None, 60):
            said = json.loads(json.dumps(as_json(metrics.snapshot(window_s))))
            for one in (said, said["versions"]["blue"]):
                times = one["latency_ms"]
                assert list(times.values()) == sorted(times.values())
                assert one["avg_request_time_ms"] <= times["max"]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_printed_ascends_too(seed: int) -> None:
    """The terminal and the page print by one function; the larger figure never looks smaller there."""
    random = Random(seed)
    for _ in range(500):
        low = random.random() * 10 ** random.randint(-2, 6)
        high = low * (1 + random.random() / 50)
        assert in_ms(ms_text(low)) <= in_ms(ms_text(high))


def in_ms(text: str) -> float:
    number, unit = text.replace("\N{NO-BREAK SPACE}", " ").replace(",", "").split(" ", 1)
    return float(number) * {"ms": 1, "µs": 0.001, "s": 1000}[unit]
