"""What the limits have done about one request, so that nothing is done twice when the filters are asked again."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Limited"]


class Limited:
    """The note of one transaction.

    Attributes:
        asked: how many of the limits, in their order, need not be asked any more.
        until_ns: monotonic: when it may go on; 0 where it need not wait.
        name: the limit that has refused or delayed it, or would have; else None.
        leaves: one for each limit that counts it as in flight.
    """

    __slots__ = ("asked", "leaves", "name", "until_ns")

    def __init__(self) -> None:
        self.asked = 0
        self.until_ns = 0
        self.name: str | None = None
        self.leaves: list[Callable[[], None]] = []

    def leave(self) -> None:
        """It is over, and in flight no more."""
        for leave in self.leaves:
            leave()
        self.leaves = []
