"""Figures with their units and versions with their releases, for pages and terminals: short."""

from __future__ import annotations

__all__ = [
    "GAP",
    "NONE",
    "ago_text",
    "bytes_text",
    "duration_text",
    "ms_text",
    "plain",
    "printable",
    "scaled",
    "versioned",
]

GAP = "\u00a0"
"""Between a figure and its unit: a line must not break there."""

NONE = "–"
"""Where there is no figure: nothing was measured, which is not the same as 0."""


def scaled(number: float, base: int, units: tuple[str, ...]) -> str:
    """The number to three figures in the largest unit of which it has one; each is `base` of the one before."""
    exponent = 0
    # 999.5 would be shown with four figures.
    while abs(number) >= min(base, 999.5) and exponent < len(units) - 1:
        number /= base
        exponent += 1
    return f"{number:,.{_decimals(number, 3)}f}{GAP}{units[exponent]}"


def _decimals(number: float, figures: int) -> int:
    """How many decimals make so many figures; two at most."""
    whole = 1 if abs(number) < 9.995 else 2 if abs(number) < 99.95 else 3
    return 2 if abs(number) < 1 else max(0, figures - whole)


def bytes_text(number: float) -> str:
    """A size in powers of 1024: 512 B, 5.00 MiB."""
    return f"{number:.0f}{GAP}B" if number < 1024 else scaled(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def ms_text(milliseconds: float | None, figures: int = 3) -> str:
    """A duration in the unit that suits it: 0.42 ms, 45.2 ms, 1.34 s; below a second to so many figures."""
    if milliseconds is None:
        return NONE
    if milliseconds >= 999.5:
        return f"{milliseconds / 1000:,.{_decimals(milliseconds / 1000, 3)}f}{GAP}s"
    return f"{milliseconds:.{_decimals(milliseconds, figures)}f}{GAP}ms"


def duration_text(seconds: float) -> str:
    """A stretch of time in its two largest units: 8 s, 1 min 49 s, 3 h 5 min, 12 d 4 h."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or parts or unit == "s":
            parts.append(f"{count}{GAP}{unit}")
    return GAP.join(parts[:2])


MOST_OF_A_RELEASE = 32
"""Letters of a release's name that a sentence shows; its card has the whole name."""


def versioned(name: str, release: str | None) -> str:
    """A version and what it runs: blue 1.4.2; a long release by its beginning and its end, which tell most."""
    if not release:
        return name
    shown = printable(release)
    if len(shown) > MOST_OF_A_RELEASE:
        shown = f"{shown[: MOST_OF_A_RELEASE - 10]}…{shown[-9:]}"
    return f"{name} {shown}"


def ago_text(seconds: float) -> str:
    """How long ago something was: just now, 1 min 5 s ago."""
    return "just now" if seconds < 1 else f"{duration_text(seconds)} ago"


def printable(text: str) -> str:
    """The text without what turns the letters after it round, or cannot be seen at all."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def plain(text: str) -> str:
    """With ordinary spaces, which are what people search for in a terminal's output."""
    return text.replace(GAP, " ")
