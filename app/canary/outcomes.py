"""What each version has done of the traffic that was shared out at random, in requests or in clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["MEASURES", "NOTHING", "Pair", "Outcomes"]

MEASURES: Final = ("failed", "slow50", "slow95")
"""What may be the matter with a request, as columns of a `Outcomes`."""


class Outcomes(NamedTuple):
    """What came to its end at one version.

    Attributes:
        completed: requests, or clients where a client stays with its version.
        failed: of these: 5xx, no connection, cut off or timed out, at the first attempt.
        slow50, slow95: of these: took longer than half, or than 95 %, of the stable version's before.
    """

    completed: int = 0
    failed: int = 0
    slow50: int = 0
    slow95: int = 0

    def plus(self, more: Outcomes) -> Outcomes:
        """Both together."""
        return Outcomes(*(one + other for one, other in zip(self, more, strict=True)))

    def since(self, before: Outcomes) -> Outcomes:
        """What came after `before`; counters that began anew, as after a restart, count from nothing."""
        if any(now < then for now, then in zip(self, before, strict=True)):
            return self
        return Outcomes(*(now - then for now, then in zip(self, before, strict=True)))


NOTHING: Final = Outcomes()


class Pair(NamedTuple):
    """Both versions over the same time."""

    canary: Outcomes = NOTHING
    stable: Outcomes = NOTHING

    def plus(self, more: Pair) -> Pair:
        """Both times together."""
        return Pair(self.canary.plus(more.canary), self.stable.plus(more.stable))

    def since(self, before: Pair) -> Pair:
        """What came after `before`."""
        return Pair(self.canary.since(before.canary), self.stable.since(before.stable))

    @classmethod
    def read(cls, rows: Sequence[Sequence[int]]) -> Pair:
        """From two rows of numbers, as JSON gives them."""
        canary, stable = rows
        return cls(Outcomes(*canary), Outcomes(*stable))
