"""Figures as the page writes them: short, of constant width where they change, without false precision."""

from __future__ import annotations

import time

__all__ = [
    "GAP",
    "NONE",
    "bytes_text",
    "clock_text",
    "count_text",
    "duration_text",
    "ms_text",
    "percent_text",
    "rate_text",
    "when_text",
]

GAP = "\u00a0"
"""Between a figure and its unit: a line must not break there."""

NONE = "–"
"""Where there is no figure: nothing was measured, which is not the same as 0."""


def count_text(number: float) -> str:
    """A count: 12,345 up to a million, then three figures: 1.23 M, 45.6 G."""
    if abs(number) < 1_000_000:
        return f"{number:,.0f}"
    return _scaled(number, 1000, ("", "k", "M", "G", "T", "P"))


def rate_text(per_second: float) -> str:
    """A rate: 0, 0.4, 12, 1,240; a small one keeps a decimal, or a trickle would read as nothing."""
    if 0 < per_second < 10:
        return f"{per_second:.1f}"
    return count_text(per_second)


def bytes_text(number: float) -> str:
    """A size in powers of 1024: 512 B, 5.00 MiB."""
    return f"{number:.0f}{GAP}B" if number < 1024 else _scaled(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(number: float, base: int, units: tuple[str, ...]) -> str:
    exponent = 0
    # 999.5 would be shown with four figures.
    while abs(number) >= min(base, 999.5) and exponent < len(units) - 1:
        number /= base
        exponent += 1
    digits = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:,.{digits}f}{GAP}{units[exponent]}"


def ms_text(milliseconds: float | None) -> str:
    """A duration to three figures at most: 0.42 ms, 45 ms, 1.34 s."""
    if milliseconds is None:
        return NONE
    if milliseconds >= 999.5:
        return f"{milliseconds / 1000:.{2 if milliseconds < 9995 else 1}f}{GAP}s"
    return f"{milliseconds:.{2 if milliseconds < 1 else 1 if milliseconds < 9.95 else 0}f}{GAP}ms"


def duration_text(seconds: float) -> str:
    """A stretch of time in its two largest units: 8 s, 1 min 49 s, 3 h 5 min, 12 d 4 h."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or parts or unit == "s":
            parts.append(f"{count}{GAP}{unit}")
    return GAP.join(parts[:2])


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
