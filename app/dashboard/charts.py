"""Charts as SVG text: geometry only. Times become shares of the width, values shares of the height.

A plot is a stretched coordinate system of one unit per column and `HEIGHT` units of height, so that the lines fill
whatever room the page has; text and annotations are placed beside it in per cent and keep their size. Colours and
line widths are the style sheet's, by class: the page's security policy allows no inline style.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from operator import add, attrgetter
from typing import Any

from app.dashboard.annotations import Annotation
from app.dashboard.figures import COUNTED_ANYWAY
from app.dashboard.observation import Past
from app.dashboard.scales import Scale, linear, logarithmic
from app.dashboard.words import clock_text, count_text
from app.units import GAP

__all__ = ["PANELS", "Panel", "axis_svg", "annotations_svg", "panel_svg"]

JUST_NOW_S = 10.0

HEIGHT = 400
"""Units of a plot's height. Whole numbers of them are finer than any screen shows, and quick to write."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the charts over the common time axis; `nothing` is said in its middle when there is nothing to draw."""

    key: str
    title: str
    unit: str
    draw: Callable[[Past], tuple[Scale, str]]
    nothing: str = ""


def panel_svg(panel: Panel, past: Past, notes: Sequence[Annotation]) -> str:
    """What is inside a panel's `<svg>`: grid, plot and the lines of the annotations."""
    scale, plot = panel.draw(past)
    parts = [_grid(scale)]
    parts.append(
        f'<svg viewBox="0 0 {len(past.columns)} {HEIGHT}" preserveAspectRatio="none" '
        f'width="100%" height="100%">{plot}</svg>'
    )
    parts += [
        f'<line class="annotation {note.kind}" x1="{x}%" x2="{x}%" y1="0" y2="100%"/>'
        for note, x in placed(past, notes)
    ]
    parts.append(_labels(scale))
    if not plot and panel.nothing:
        nothing = panel.nothing if past.is_counted or panel.key == COUNTED_ANYWAY else "Not counted: metrics are off"
        parts.append(f'<text class="nothing" x="50%" y="50%" text-anchor="middle">{nothing}</text>')
    return "".join(parts)


def placed(past: Past, notes: Iterable[Annotation]) -> list[tuple[Annotation, str]]:
    """The annotations that are within the charts' time, each with its place in per cent.

    What has just happened is ahead of the newest column, which is complete, and stands at the right edge.
    """
    return [
        (note, _number(min(100.0, 100 * (note.at - past.start) / past.span_s)))
        for note in notes
        if past.start <= note.at <= past.end + past.step_s + JUST_NOW_S
    ]


def _grid(scale: Scale) -> str:
    heights = [_per_cent(place) for place in _places(scale) if place > 0]
    lines = "".join(f'<line class="grid" x1="0" x2="100%" y1="{y}%" y2="{y}%"/>' for y in heights)
    return f'{lines}<line class="base" x1="0" x2="100%" y1="100%" y2="100%"/>'


def _labels(scale: Scale) -> str:
    return "".join(
        f'<text class="tick" x="100%" y="{_per_cent(place)}%" dx="6" dy="{4 if place else 1}">{escape(text)}</text>'
        for place, (_, text) in zip(_places(scale), scale.ticks, strict=True)
    )


def _places(scale: Scale) -> list[float]:
    return [scale.place(value) for value, _ in scale.ticks]


def _per_cent(place: float) -> str:
    return _number(100 * (1 - place))


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


# --- shapes ----------------------------------------------------------------------------------------------


Heights = Sequence[int]
"""Of each column, in units from the bottom."""


def heights(scale: Scale, values: Iterable[float]) -> list[int]:
    """Where values stand."""
    place = scale.place
    return [round(HEIGHT * place(value)) for value in values]


def steps(line: Sequence[int | None]) -> str:
    """A line that goes straight across each column; None is a gap. Equal neighbours make one stroke."""
    path: list[str] = []
    x = 0
    is_down = False
    for height, run in groupby(line):
        end = x + len(list(run))
        if height is None:
            is_down = False
        else:
            y = HEIGHT - height
            path.append(f"V{y}H{end}" if is_down else f"M{x} {y}H{end}")
            is_down = True
        x = end
    return "".join(path)


def area(top: Heights, bottom: Heights) -> str:
    """The room between two such lines."""
    x, back = len(bottom), []
    for height, run in groupby(reversed(bottom)):
        x -= len(list(run))
        back.append(f"V{HEIGHT - height}H{x}")
    return f"{steps(top)}{''.join(back)}Z"


def _path(css: str, d: str) -> str:
    return f'<path class="{css}" d="{d}"/>' if d else ""


# --- panels ----------------------------------------------------------------------------------------------


def _tick_text(value: float) -> str:
    """Ticks are round: 4 M, where a figure of the same size is 4.00 M."""
    if value < 10:
        return f"{value:g}"
    number, gap, unit = count_text(value).partition(GAP)
    return f"{float(number):g}{gap}{unit}" if unit else number


def _ms_tick_text(milliseconds: float) -> str:
    return f"{milliseconds:g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:g} s"


_STACK = ("blue", "green", "router")
_LINES = ("blue", "green")


def _each(past: Past, figure: str) -> list[Any]:
    """One figure of every column, such as `blue.requests`; by a loop in C, as there are hundreds."""
    return list(map(attrgetter(figure), past.columns))


def _requests(past: Past) -> tuple[Scale, str]:
    """Requests per second, the versions on top of each other."""
    counts = {name: _each(past, f"{name}.requests") for name in _STACK}
    totals = list(map(sum, zip(*counts.values(), strict=True)))
    scale = linear(max(totals, default=0) / past.step_s, _tick_text, 1)
    below = [0] * len(totals)
    floor = heights(scale, below)
    shapes: list[str] = []
    for name, own in counts.items():
        if not any(own):
            continue
        below = list(map(add, below, own))
        ceiling = heights(scale, [count / past.step_s for count in below])
        shapes.append(_path(f"fill {name}", area(ceiling, floor)))
        line = [high if count else None for high, count in zip(ceiling, own, strict=True)]
        shapes.append(_path(f"line {name}", steps(line)))
        floor = ceiling
    return scale, "".join(shapes)


def _errors(past: Past) -> tuple[Scale, str]:
    """The share of failed requests, in per cent."""
    counts = zip(_each(past, "failed"), _each(past, "requests"), strict=True)
    shares = [100 * failed / requests if failed else 0.0 for failed, requests in counts]
    scale = linear(max(shares, default=0), lambda value: f"{value:g} %", 2)
    if not any(shares):
        return scale, ""
    top = heights(scale, shares)
    line = [height if share else None for height, share in zip(top, shares, strict=True)]
    return scale, _path("fill failed", area(top, [0] * len(top))) + _path("line failed", steps(line))


def _latency(past: Past) -> tuple[Scale, str]:
    """p50 and p95 of each version."""
    lines = {f"{name} {share}": _each(past, f"{name}.{share}_ms") for share in ("p95", "p50") for name in _LINES}
    scale = logarithmic([value for line in lines.values() for value in line if value is not None], _ms_tick_text)
    return scale, "".join(_line(css, line, scale) for css, line in lines.items())


def _in_flight(past: Past) -> tuple[Scale, str]:
    """Requests in flight on each version: a drain is a line that falls to nothing."""
    lines = {name: _each(past, f"{name}.in_flight") for name in _LINES}
    scale = linear(max((value for line in lines.values() for value in line), default=0), _tick_text, 2)
    return scale, "".join(_line(name, _awake(line), scale) for name, line in lines.items())


def _line(css: str, values: Sequence[float | None], scale: Scale) -> str:
    place = scale.place
    return _path(f"line {css}", steps([None if value is None else round(HEIGHT * place(value)) for value in values]))


def _awake(line: Sequence[int]) -> list[int | None]:
    """The line without its zeros, except those beside other values: it is to fall to nothing, not to lie there."""
    padded = (0, *line, 0)
    return [
        value if before or value or after else None
        for before, value, after in zip(padded, line, padded[2:], strict=False)
    ]


PANELS = (
    Panel("requests", "Requests", "per second", _requests, "No requests in this time"),
    Panel("errors", "Failed", "share of requests", _errors, "Nothing failed"),
    Panel("latency", "Latency", "p50 and p95", _latency, "Nothing was measured"),
    Panel("in_flight", "In flight", "most at once", _in_flight, "Nothing was in flight"),
)


# --- time ------------------------------------------------------------------------------------------------


def axis_svg(past: Past) -> str:
    """The times below the charts, at round minutes or hours."""
    step = next((step for step in (60, 120, 300, 3600) if past.span_s / step <= 6), 3600)
    first = math.ceil(past.start / step) * step
    parts = []
    for at in range(first, math.floor(past.end) + 1, step):
        share = (at - past.start) / past.span_s
        if 0.03 < share < 0.9:
            x = _number(100 * share)
            parts.append(f'<line class="base" x1="{x}%" x2="{x}%" y1="0" y2="4"/>')
            parts.append(f'<text class="tick" x="{x}%" y="16" text-anchor="middle">')
            parts.append(f"{clock_text(at, seconds=False)}</text>")
    parts.append('<text class="tick now" x="100%" y="16" text-anchor="middle">now</text>')
    return "".join(parts)


_LETTER_SHARE = 0.0105
"""About the width of a letter in a plot of 600 pixels, the narrowest that shows labels at all."""


def annotations_svg(past: Past, notes: Sequence[Annotation]) -> str:
    """The flags above the charts, each with a label on that side where there is room for it.

    A label that would run into a neighbour on both sides is left to the flag's title.
    """
    found = placed(past, notes)
    parts: list[str] = []
    taken = 0.0
    for index, (note, x) in enumerate(found):
        share = float(x) / 100
        following = float(found[index + 1][1]) / 100 if index + 1 < len(found) else 1.0
        title = escape(f"{clock_text(note.at)} {note.text}")
        parts.append(f'<g class="flag {note.kind} {note.version}"><title>{title}</title>')
        parts.append(f'<line class="annotation {note.kind}" x1="{x}%" x2="{x}%" y1="10" y2="100%"/>')
        parts.append(f'<svg x="{x}%" y="4" width="13" height="13" overflow="visible">{_FLAGS[note.kind]}</svg>')
        width = (len(note.label) + 3) * _LETTER_SHARE
        if share + width < following:
            parts.append(f'<text class="label" x="{x}%" y="14" dx="11">{escape(note.label)}</text>')
            taken = share + width
        elif share - width > taken:
            parts.append(f'<text class="label" x="{x}%" y="14" dx="-11" text-anchor="end">{escape(note.label)}</text>')
        taken = max(taken, share + 2 * _LETTER_SHARE)
        parts.append("</g>")
    return "".join(parts)


_FLAGS = {
    "switch": '<path class="glyph" d="M-6 6 0 0 6 6 0 12Z"/>',
    "rollback": '<path class="glyph" d="M-6 6 0 0 6 6 0 12Z"/><path class="cut" d="M3 6H-3M0 3-3 6 0 9"/>',
    "start": '<path class="glyph" d="M-4 1 6 6-4 11Z"/>',
    "stop": '<path class="glyph" d="M-5 1H5V11H-5Z"/>',
    "crash": '<path class="cross" d="M-5 1 5 11M5 1-5 11"/>',
    "failover": '<path class="glyph" d="M-6 1H1L6 6 1 11H-6Z"/>',
    "failback": '<path class="glyph" d="M6 1H-1L-6 6-1 11H6Z"/>',
    "failing": '<path class="glyph" d="M0 0 7 12H-7Z"/>',
    "hold": '<path class="glyph" d="M-5 1H-1V11H-5ZM1 1H5V11H1Z"/>',
    "well": '<path class="cross" d="M-6 6-2 10 6 1"/>',
    "router": '<path class="glyph" d="M-5 6A5 5 0 1 0 5 6A5 5 0 1 0-5 6Z"/>',
}
"""By kind, so that colour is never all that tells them apart; around a point 6 px below the top."""
