"""What becomes of the requests that are shared out between two versions, as one worker counts it."""

from __future__ import annotations

from typing import Final

from app.metrics import layout
from app.state.model import VERSIONS

__all__ = ["MOST_SEEN", "SplitWords"]

MOST_SEEN: Final = 8
"""Whether so many different clients were there, or more, makes no difference to anybody."""


class SplitWords:
    """What one worker counts; made by `SharedMetrics.split`."""

    __slots__ = ("_clients", "_requests", "_seen", "_words")

    def __init__(self, words: memoryview[int], _slots: int, own: int) -> None:
        self._words = words
        self._requests = tuple(layout.split_at(own, version) for version in range(len(VERSIONS)))
        self._clients = tuple(at + len(layout.SPLIT_COUNTS) for at in self._requests)
        self._seen = layout.slot_at(own) + layout.SEEN_AT

    def count_request(self, version: int, bits: int) -> None:
        """One more request has come to its end; bits of `split_clients.FAILED`, `SLOW50` and `SLOW95`."""
        self._count(self._requests[version], bits)

    def count_client(self, version: int, bits: int) -> None:
        """One more client is known, likewise."""
        self._count(self._clients[version], bits)

    def say_seen(self, version: int, clients: int) -> None:
        """Of how many different clients this worker has seen requests at a version."""
        self._words[self._seen + version] = clients

    def _count(self, at: int, bits: int) -> None:
        words = self._words
        words[at] += 1  # first: who reads downwards never finds more that failed than were completed
        if bits:
            words[at + 1] += bits & 1
            words[at + 2] += bits >> 1 & 1
            words[at + 3] += bits >> 2
