"""Clocks that stand still until they are told otherwise."""

from __future__ import annotations


class FakeClock:
    """Monotonic microseconds; call it to read it."""

    def __init__(self, second: float = 1000.0) -> None:
        self.us = int(second * 1_000_000)

    def __call__(self) -> int:
        return self.us

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.us += int(seconds * 1_000_000)


class FakeSeconds:
    """Monotonic seconds; call it to read it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
