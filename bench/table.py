"""Tables as text: Markdown that is also pleasant in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["figure", "ratio", "render_table"]


def render_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns padded to one width; the first is aligned to the left, the others right."""
    widths = [max(len(cell) for cell in column) for column in zip(titles, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        return "| " + " | ".join(padded) + " |"

    return "\n".join([line(titles), line(rule), *map(line, rows)])


def figure(value: float | None, digits: int = 0) -> str:
    """A number with thousands apart, "–" for none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def ratio(value: float | None, base: float | None) -> str:
    """How many times the base, "–" when there is nothing to compare."""
    return "–" if value is None or not base else f"{value / base:.2f}"
