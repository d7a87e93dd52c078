"""Waiting until no worker has a request on a version any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.deploy.events import Drained, Draining, Reporter

__all__ = ["Drain", "NoTraffic", "Outcome", "Row", "Traffic"]

_POLL_S = 0.05
"""Also the distance of the two looks that both have to see nothing."""

_REPORT_EVERY_S = 0.5


class Row(Protocol):
    """A request that is being answered."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def age_s(self) -> float: ...


class Traffic(Protocol):
    """What the router's workers have in flight, from whatever process one asks."""

    def in_flight(self, version: str) -> int:
        """How many requests a version is answering, over all workers."""

    def in_flight_rows(self, version: str) -> Sequence[Row]:
        """The requests themselves, oldest first."""


class NoTraffic:
    """The traffic of a router that does not run."""

    def in_flight(self, version: str) -> int:
        return 0

    def in_flight_rows(self, version: str) -> Sequence[Row]:
        return ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a drain ended: `remaining` requests when the time was up, 0 when it is complete."""

    remaining: int
    duration_s: float
    oldest: str = ""

    @property
    def is_complete(self) -> bool:
        return self.remaining == 0


@dataclass(frozen=True, slots=True)
class Drain:
    """Watches a version's requests come to their end; `clock` is monotonic."""

    traffic: Traffic
    report: Reporter
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def wait(self, version: str, timeout_s: float) -> Outcome:
        """Wait until two looks in a row find no request in flight, at most `timeout_s` seconds."""
        began, seen_none, reported = self.clock(), False, -_REPORT_EVERY_S
        while True:
            in_flight = self.traffic.in_flight(version)
            elapsed = self.clock() - began
            if in_flight == 0 and seen_none:
                self.report(Drained(version, elapsed))
                return Outcome(0, elapsed)
            look = self._look(version, in_flight, timeout_s - elapsed)
            if in_flight and elapsed >= timeout_s:
                return Outcome(in_flight, elapsed, f"{look.oldest} for {look.oldest_s:.1f} s".strip())
            if in_flight and elapsed - reported >= _REPORT_EVERY_S:
                self.report(look)
                reported = elapsed
            seen_none = in_flight == 0
            self.sleep(_POLL_S)

    def _look(self, version: str, in_flight: int, left_s: float) -> Draining:
        rows = self.traffic.in_flight_rows(version) if in_flight else ()
        oldest = max(rows, key=lambda row: row.age_s, default=None)
        if oldest is None:
            return Draining(version, in_flight, 0.0, "", left_s)
        return Draining(version, in_flight, oldest.age_s, f"{oldest.method} {oldest.path}", left_s)
