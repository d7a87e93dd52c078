"""How many requests may be sent once more: a share of the traffic, so that a dying version is not hammered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["RetryBudget"]

WINDOW_TICKS = 10
"""Seconds that are looked at together: a crash resets many requests at one moment, which must fit in."""


class RetryBudget:
    """Allows `share` of the requests of the last ten seconds, and `floor` more for each second.

    Args:
        share: 0 to 1.
        floor: retries for each second that need no traffic.
        requests: how many requests there have been so far.
    """

    def __init__(self, share: float, floor: int, requests: Callable[[], int]) -> None:
        self._share = share
        self._floor = floor
        self._requests = requests
        self._counts = deque([requests()], WINDOW_TICKS)  # at the beginning of each second
        self._spent = deque([0], WINDOW_TICKS)  # in each second

    def tick(self) -> None:
        """A second has passed."""
        self._counts.append(self._requests())
        self._spent.append(0)

    @property
    def left(self) -> int:
        """How many retries are allowed at this moment."""
        earned = self._share * (self._requests() - self._counts[0])
        return max(0, int(earned) + self._floor * WINDOW_TICKS - sum(self._spent))

    def take(self) -> bool:
        """Spends one retry; False when none is left."""
        if not self.left:
            return False
        self._spent[-1] += 1
        return True
