"""Figures as the page writes them: short, of constant width where they change, without false precision."""

from __future__ import annotations

import time

from app import units
from app.units import GAP, NONE, ago_text, printable, scaled, versioned

__all__ = [
    "ago_text",
    "clock_text",
    "count_text",
    "ms_text",
    "percent_text",
    "printable",
    "rate_text",
    "shortened",
    "versioned",
    "when_text",
]


def shortened(text: str, most: int) -> str:
    """The first line, at most so many letters of it."""
    line = printable(text.strip().partition("\n")[0])
    return line if len(line) <= most else f"{line[: most - 1]}…"


def count_text(number: float) -> str:
    """A count: 12,345 up to a million, then three figures: 1.23 M, 45.6 G."""
    if abs(number) < 1_000_000:
        return f"{number:,.0f}"
    return scaled(number, 1000, ("", "k", "M", "G", "T", "P"))


def rate_text(per_second: float) -> str:
    """A rate: 0, 0.4, 12, 1,240; a small one keeps a decimal, or a trickle would read as nothing."""
    if 0 < per_second < 10:
        return f"{per_second:.1f}"
    return count_text(per_second)


def ms_text(milliseconds: float | None) -> str:
    """A latency to two figures: the percentiles of a window are up to an eighth off."""
    return units.ms_text(milliseconds, figures=2)


def percent_text(part: float, whole: float) -> str:
    """A share: 100 %, 99.98 %; it says 100 only when nothing is missing, and 0 only when nothing is there."""
    if not whole:
        return NONE
    share = 100 * part / whole
    if share in (0, 100):
        return f"{share:.0f}{GAP}%"
    return f"{min(max(share, 0.01), 99.99):.2f}{GAP}%"


def clock_text(at: float, *, seconds: bool = True) -> str:
    """The time of day, in the server's zone."""
    return time.strftime("%H:%M:%S" if seconds else "%H:%M", time.localtime(at))


def when_text(at: float, now: float) -> str:
    """The time of day of something today, 05:06:07, and the day before the time of something else: 2026-03-04 05:06."""
    then, today = time.localtime(at), time.localtime(now)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M", then)
