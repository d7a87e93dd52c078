"""Whose turn it is to accept: the workers share one listener, and shall end up with equal shares of connections."""

from __future__ import annotations

from time import monotonic_ns

from app.metrics.shares import Shares

__all__ = ["PAUSE_S", "FairShare"]

PAUSE_S = 0.001
_PAUSES_MAX = 20
"""A worker that is ahead leaves a connection to the others for at most 20 ms: were they all stuck, it takes it."""

_SLACK = 2
"""Connections that a worker may be ahead of the least busy one; an eighth of a larger share is fair as well."""


class FairShare:
    """One worker's share of the client connections.

    The kernel wakes every worker for a connection and the first one gets it; in a burst one worker can be first
    each time and end up with all connections, on one core. SO_REUSEPORT spreads them by chance instead, and
    loses those in the queue of a worker that ends.
    """

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._pauses = 0

    def is_anothers_turn(self, held: int) -> bool:
        """Whether a worker that holds so many connections should leave the next one to another, for `PAUSE_S`."""
        least = self._shares.least_of_others(monotonic_ns() // 1000)
        if least is None or held <= least + max(_SLACK, least // 8) or self._pauses >= _PAUSES_MAX:
            self._pauses = 0
            return False
        self._pauses += 1
        return True

    def publish(self, held: int) -> None:
        """Tells the other workers that this one accepts, and how many connections it holds."""
        self._shares.publish(held)
