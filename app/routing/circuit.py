"""How many times in a row a version has failed, and what that makes of it."""

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


class Circuit:
    """Counts the failures in a row of one version.

    Args:
        threshold: failures in a row that open it; 0 never does.
        clock: monotonic seconds.
        proof: successes in a row that close it again once it has been open.

    Attributes:
        state, failures: what the counting has come to.
    """

    def __init__(self, threshold: int, clock: Callable[[], float] = monotonic, proof: int = 1) -> None:
        self._threshold = threshold
        self._proof = proof
        self._proven = 0
        self._clock = clock
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
        if self.state is CircuitState.OPEN or not self._threshold or self.failures < limit:
            return False
        self.state = CircuitState.OPEN
        return True

    def succeeded(self) -> bool:
        """The version has answered; returns whether it is closed now."""
        self._proven += 1
        if self.state is not CircuitState.CLOSED and self._proven < self._proof:
            return False
        self.state = CircuitState.CLOSED
        self.failures = 0
        self._since = None
        return True

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
