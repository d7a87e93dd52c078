"""Figures with their units: short, and never more precise than they are."""

from __future__ import annotations

import pytest

from app.units import GAP, bytes_text, duration_text, ms_text, versioned


def plain(text: str) -> str:
    """With ordinary spaces."""
    return text.replace(GAP, " ")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (5 << 20, "5.00 MiB"),
        (1023 << 20, "1.00 GiB"),
        (3 << 50, "3.00 PiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert plain(bytes_text(size)) == text


@pytest.mark.parametrize(
    ("ms", "figures", "text"),
    [
        (None, 3, "–"),
        (0.421, 3, "0.42 ms"),
        (0.421, 2, "0.42 ms"),
        (4.21, 3, "4.21 ms"),
        (4.21, 2, "4.2 ms"),
        (9.996, 2, "10 ms"),
        (45.21, 3, "45.2 ms"),
        (45.21, 2, "45 ms"),
        (450.4, 3, "450 ms"),
        (999.6, 2, "1.00 s"),
        (1340, 3, "1.34 s"),
        (12e3, 2, "12.0 s"),
        (131e3, 3, "131 s"),
    ],
)
def test_durations_in_ms(ms: float | None, figures: int, text: str) -> None:
    assert plain(ms_text(ms, figures)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (8.9, "8 s"),
        (109, "1 min 49 s"),
        (3600, "1 h 0 min"),
        (11_100, "3 h 5 min"),
        (1_051_200, "12 d 4 h"),
    ],
)
def test_stretches_of_time(seconds: float, text: str) -> None:
    assert plain(duration_text(seconds)) == text


def test_unit_stays_with_its_figure() -> None:
    assert not any(" " in text for text in (bytes_text(2048), ms_text(3.0), duration_text(11_100)))


def test_long_release_is_shown_by_its_beginning_and_its_end() -> None:
    release = "2026-11-28-build-of-the-checkout-branch-4711abc"
    assert versioned("blue", release) == "blue 2026-11-28-build-of-th…h-4711abc"
    assert versioned("blue", None) == "blue"
