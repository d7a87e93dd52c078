"""The waves of a rollout: `1,25%,100%` and the nodes make who switches when."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil
from typing import Final

from app.operator_errors import UsageError

__all__ = ["ALL_AT_ONCE", "in_waves"]

ALL_AT_ONCE: Final = "100%"

_ONE: Final = re.compile(r"([1-9]\d{0,3})(%?)")


def in_waves(text: str, nodes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The nodes of each wave, in their order; each number says how many have switched after its wave.

    The last wave has whoever is left. Raises `UsageError` for numbers that do not grow.
    """
    waves: list[tuple[str, ...]] = []
    reached, before = 0, 0
    for part in text.split(","):
        found = _ONE.fullmatch(part.strip())
        if found is None or (found[2] and int(found[1]) > 100):
            raise UsageError(f"--waves={text}: expected numbers of nodes or per cents with commas, such as 1,25%,100%")
        up_to = ceil(len(nodes) * int(found[1]) / 100) if found[2] else min(int(found[1]), len(nodes))
        if up_to < before:
            raise UsageError(f"--waves={text}: {part.strip()} of {len(nodes)} nodes are fewer than the wave before has")
        before = up_to
        if up_to > reached:
            waves.append(tuple(nodes[reached:up_to]))
            reached = up_to
    rest = tuple(nodes[reached:])
    return tuple(waves) + ((rest,) if rest else ())
