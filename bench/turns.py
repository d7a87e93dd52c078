"""The event loop's turns without an event loop, for what is measured outside of a worker."""

from __future__ import annotations

from collections.abc import Callable

from app.metrics.slot import SlotWriter

__all__ = ["REQUESTS_PER_TURN", "Turns"]

REQUESTS_PER_TURN = 12
"""A worker under load waits for its sockets once in so many requests (`strace -c`, 32 connections)."""


class Turns:
    """Ends a turn after every dozen requests that a writer has counted."""

    def __init__(self, writer: SlotWriter) -> None:
        self._due: list[tuple[Callable[[int], None], int]] = []
        self._requests = 0
        writer.later = lambda work, version: self._due.append((work, version))

    def count(self) -> None:
        """One more request has ended."""
        self._requests += 1
        if self._requests % REQUESTS_PER_TURN == 0:
            for work, version in self._due:
                work(version)
            self._due.clear()
