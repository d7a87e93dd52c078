"""Figures in words: short, and never more precise than they are."""

from __future__ import annotations

import re

import pytest

from app.dashboard.words import count_text, ms_text, percent_text, rate_text, when_text


def plain(text: str) -> str:
    """With ordinary spaces."""
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (12_345, "12,345"),
        (999_999, "999,999"),
        (1_000_000, "1.00 M"),
        (45_678_901, "45.7 M"),
        (999_600_000, "1.00 G"),
        (987_654_321_098, "988 G"),
        (4.2e18, "4,200 P"),
    ],
)
def test_counts(number: float, text: str) -> None:
    assert plain(count_text(number)) == text


@pytest.mark.parametrize(("rate", "text"), [(0, "0"), (0.04, "0.0"), (0.4, "0.4"), (9.94, "9.9"), (1240, "1,240")])
def test_rates(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(("ms", "text"), [(None, "–"), (0.42, "0.42 ms"), (4.21, "4.2 ms"), (45.3, "45 ms")])
def test_latencies_claim_two_figures(ms: float | None, text: str) -> None:
    assert plain(ms_text(ms)) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (5, 5, "100 %"),
        (0, 5, "0 %"),
        (999_999, 1_000_000, "99.99 %"),
        (1, 1_000_000, "0.01 %"),
        (1, 3, "33.33 %"),
    ],
)
def test_share_says_all_or_nothing_only_when_it_is(part: int, whole: int, text: str) -> None:
    assert plain(percent_text(part, whole)) == text


def test_what_happened_today_needs_no_date() -> None:
    now = 1_772_600_400.0  # five o'clock in UTC; within two days there is another day wherever we are
    assert re.fullmatch(r"\d\d:\d\d:\d\d", when_text(now - 1, now))
    assert re.fullmatch(r"2026-03-0\d \d\d:\d\d", when_text(now - 2 * 86_400, now))
