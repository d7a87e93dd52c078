"""Rates as arithmetic: what is a rate, and which requests of a key it lets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.gcra import LATE_NS, turn
from app.limits.rate import Rate

S = 10**9
START = 5_000 * S


@pytest.mark.parametrize(
    ("text", "burst", "rate"),
    [
        ("10/s", 0, Rate(10, 1, 10, S // 10, S)),
        ("10/m", 20, Rate(10, 60, 20, 6 * S, 120 * S)),
        ("1/h", 1, Rate(1, 3600, 1, 3600 * S, 3600 * S)),
        ("1000000/s", 1, Rate(1_000_000, 1, 1, 1000, 1000)),
    ],
)
def test_rate_is_read_with_its_burst(text: str, burst: int, rate: Rate) -> None:
    assert Rate.parse(text, burst) == rate


@pytest.mark.parametrize("text", ["", "10", "0/s", "10/d", "-1/s", "1.5/s", "10 / s", "1000001/s", "99999999/s", "٣/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        Rate.parse(text)


def test_burst_that_never_comes_back_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than a year"):
        Rate.parse("1/h", 1_000_000)


def let_through(rate: Rate, times: list[int], delay_ns: int = 0) -> list[int]:
    """The moments at which requests that come at these go on."""
    known, gone = 0, []
    for now in times:
        wait, after = turn(rate, delay_ns, known, now)
        if wait <= delay_ns:
            known = after
            gone.append(now + max(wait, 0))
    return gone


def test_burst_passes_at_once_and_then_one_each_increment() -> None:
    rate = Rate.parse("10/s", 3)
    times = [START + ms * 10**6 for ms in range(0, 1001, 10)]

    gone = [(at - START) // 10**6 for at in let_through(rate, times)]

    assert gone == [0, 10, 20, *range(100, 1001, 100)]


def test_refused_request_is_told_when_the_next_one_may_come() -> None:
    rate = Rate.parse("1/m", 1)
    _, known = turn(rate, 0, 0, START)

    assert turn(rate, 0, known, START + 10 * S)[0] == 50 * S
    assert turn(rate, 0, known, START + 60 * S)[0] == 0


def test_delayed_requests_go_one_after_the_other() -> None:
    rate = Rate.parse("10/s", 1)

    gone = let_through(rate, [START] * 10, delay_ns=S // 2)

    assert [(at - START) // 10**6 for at in gone] == [0, 100, 200, 300, 400, 500]


@pytest.mark.parametrize("ahead_ns", [2 * S + LATE_NS + 1, 100 * S, 2**62])
def test_time_that_no_request_of_the_key_can_have_left_counts_for_nothing(ahead_ns: int) -> None:
    rate = Rate.parse("10/s", 20)

    assert turn(rate, 0, START + ahead_ns, START) == turn(rate, 0, 0, START)


def test_look_at_the_clock_that_is_late_does_not_undo_what_others_counted() -> None:
    rate = Rate.parse("10/s", 2)
    _, known = turn(rate, 0, START + S // 10, START)

    assert turn(rate, 0, known, START - 1)[0] > 0
    assert turn(rate, 0, known, START - LATE_NS)[0] > 0


@given(
    per_s=st.integers(1, 1000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.integers(0, S), min_size=1, max_size=80),
)
def test_passes_what_a_bucket_that_leaks_would_pass(per_s: int, burst: int, gaps: list[int]) -> None:
    rate = Rate.parse(f"{per_s}/s", burst)
    times = [START + sum(gaps[:number]) for number in range(len(gaps))]

    fill, last, expected = 0, START, []
    for now in times:
        fill, last = max(0, fill - (now - last)), now
        if fill + rate.increment_ns <= rate.span_ns:
            fill += rate.increment_ns
            expected.append(now)

    assert let_through(rate, times) == expected


@given(gaps=st.lists(st.integers(0, S // 5), min_size=1, max_size=200))
def test_no_window_has_more_than_its_rate_and_one_burst(gaps: list[int]) -> None:
    rate = Rate.parse("10/s", 4)
    gone = let_through(rate, [START + sum(gaps[:number]) for number in range(len(gaps))])

    for number, first in enumerate(gone):
        within = sum(1 for at in gone[number:] if at < first + S)
        assert within <= 10 + 4
