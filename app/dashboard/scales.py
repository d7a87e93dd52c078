"""The vertical scales of the charts: where a value stands, and which lines are labelled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Scale", "linear", "logarithmic"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How high a value stands: `place` gives its share of the height, 0 at the bottom and 1 at the top."""

    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def linear(highest: float, text: Callable[[float], str], least: float) -> Scale:
    """From 0 to a round number that is at least `highest` and `least`, with a line half-way."""
    top = _round_up(max(highest, least))
    return Scale(lambda value: value / top, [(top / 2, text(top / 2)), (top, text(top))])


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 6, 8 or 10 times a power of ten: their halves are round as well."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value * 0.999999)


def logarithmic(values: Sequence[float], text: Callable[[float], str]) -> Scale:
    """Powers of ten around the values: one slow request must not flatten all the others."""
    low = math.floor(math.log10(max(min(values, default=1.0), 0.01)))
    high = max(math.ceil(math.log10(max(max(values, default=100.0), 0.01))), low + 2)
    every = 1 if high - low <= 4 else 2
    ticks = [(10.0**power, text(10.0**power)) for power in range(high, low - 1, -every)]
    least, span = 10.0**low, high - low
    return Scale(lambda value: (math.log10(value) - low) / span if value > least else 0.0, sorted(ticks))
