"""Many rollouts of one kind, and what became of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from random import Random
from statistics import median
from typing import NamedTuple

from tests.canary_sim.rules import Judge
from tests.canary_sim.traffic import Release, World, traffic

P99_Z = 2.326348
MEDIAN_MS = 60.0


class Result(NamedTuple):
    """What became of so many rollouts: how each ended, and after how many seconds."""

    ends: Counter[str]
    seconds: tuple[tuple[str, int], ...]

    @property
    def times(self) -> int:
        """How many there were."""
        return sum(self.ends.values())

    def share(self, end: str) -> float:
        """The share of them that ended so."""
        return self.ends[end] / self.times

    def median_s(self, end: str) -> float | None:
        """After how many seconds half of *all* had ended so; None when fewer than half did."""
        took = [float(s) if how == end else math.inf for how, s in self.seconds]
        middle = median(took)
        return None if math.isinf(middle) else middle


def simulate(
    make: Callable[[], Judge], world: World, release: Release, times: int, *, most_s: int = 3_600, seed: int = 1
) -> Result:
    """Roll out so many times."""
    found = []
    for number in range(times):
        random = Random(f"{seed} {number}")
        judge, source = make(), traffic(world, release, random)
        p99 = MEDIAN_MS * math.exp(P99_Z * world.sigma) * release.slower
        took_s = 0
        while took_s < most_s and not judge.ended:
            more = source.second(judge.weight)
            judge.second(more, p99 * source.slower)
            took_s += 1
        found.append((judge.ended or "undecided", took_s))
    return Result(Counter(end for end, _ in found), tuple(found))


def most_by_chance(times: int, chance: float, surely: float = 0.999) -> int:
    """As many of `times` are surely not exceeded when each happens with this chance."""
    below, at, term = 0.0, 0, (1 - chance) ** times
    while below + term < surely:
        below += term
        term *= (times - at) / (at + 1) * chance / (1 - chance)
        at += 1
    return at
