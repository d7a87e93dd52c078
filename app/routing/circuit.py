"""How many times in a row a version has failed, or how often of late, and what that makes of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from time import monotonic

__all__ = ["Circuit", "CircuitState"]


class CircuitState(Enum):
    """What is known about a version by its answers."""

    CLOSED = "closed"  # it answers
    OPEN = "open"  # it has failed too often in a row
    HALF_OPEN = "half-open"  # it may have recovered: one more failure is enough


SHARE_SPAN_S = 10.0
SHARE_LEAST = 20


class FailureShare:
    """The share of failures among the requests of the last `SHARE_SPAN_S`, from the first failure on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._now = self._before = (0, 0)  # failures and requests, of this half of the span and of the one before

    def count(self, failures: int) -> bool:
        """Counts a request, one failure or none; returns whether half of all, and of not too few, have failed."""
        self._turn()
        self._now = self._now[0] + failures, self._now[1] + 1
        failed, requests = (sum(pair) for pair in zip(self._now, self._before, strict=True))
        return requests >= SHARE_LEAST and 2 * failed >= requests

    @property
    def is_nothing(self) -> bool:
        """Whether none of them failed."""
        self._turn()
        return not self._now[0] and not self._before[0]

    def _turn(self) -> None:
        halves = int(max(self._clock() - self._began, 0.0) / (SHARE_SPAN_S / 2))
        if halves:
            self._before, self._now = self._now if halves == 1 else (0, 0), (0, 0)
            self._began += halves * SHARE_SPAN_S / 2


class Circuit:
    """Counts the failures in a row of one version.

    Args:
        threshold: failures in a row that open it; 0 never does.
        clock: monotonic seconds.
        proof: successes in a row that close it again once it has been open.
        by_share: half of the requests of late open it as well, though others were answered in between.

    Attributes:
        state, failures: what the counting has come to.
    """

    def __init__(
        self, threshold: int, clock: Callable[[], float] = monotonic, proof: int = 1, by_share: bool = False
    ) -> None:
        self._threshold = threshold
        self._proof = proof
        self._proven = 0
        self._clock = clock
        self._share = FailureShare(clock) if by_share else None
        self._since: float | None = None
        self.state = CircuitState.CLOSED
        self.failures = 0

    def failed(self) -> bool:
        """Counts a failure; returns whether it is the one that opens the circuit."""
        self.failures += 1
        self._proven = 0
        if self._since is None:
            self._since = self._clock()
        limit = 1 if self.state is CircuitState.HALF_OPEN else self._threshold
        is_too_often = self._share is not None and self._share.count(1)
        if self.state is CircuitState.OPEN or not self._threshold or not (self.failures >= limit or is_too_often):
            return False
        self.state = CircuitState.OPEN
        return True

    def succeeded(self) -> bool:
        """The version has answered; returns whether it is closed now."""
        self._proven += 1
        if self._share is not None:
            self._share.count(0)
        if self.state is not CircuitState.CLOSED and self._proven < self._proof:
            return False
        if self._share is not None and self.state is not CircuitState.CLOSED:
            self._share = FailureShare(self._clock)
        self.state = CircuitState.CLOSED
        self.failures = 0
        self._since = None
        return True

    @property
    def is_past(self) -> bool:
        """Whether it may be forgotten: it is closed, and no failure counts any more."""
        return self.state is CircuitState.CLOSED and (self._share is None or self._share.is_nothing)

    def open(self) -> None:
        """Somebody else has found that it has failed too often."""
        self.state = CircuitState.OPEN
        if self._since is None:
            self._since = self._clock()

    def try_again(self) -> None:
        """There is reason to believe that it has recovered, and the next request will show."""
        if self.state is CircuitState.OPEN:
            self.state = CircuitState.HALF_OPEN
            self.failures = self._proven = 0

    @property
    def is_open(self) -> bool:
        """Whether it has failed too often."""
        return self.state is CircuitState.OPEN

    @property
    def failing_for_s(self) -> float:
        """Since the first failure in the row; 0 without one."""
        return 0.0 if self._since is None else self._clock() - self._since
