"""Waiting until no worker has a request on a version any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from app.address import Address
from app.deploy.events import Drained, Draining, Overdue, Reporter
from app.deploy.traffic import Row, Traffic

__all__ = ["Drain", "OnTimeout", "DrainOutcome"]

_POLL_S = 0.05
"""Also the distance of the two looks that both have to see nothing."""

_WORKERS_WAIT_S = 3.0
"""Above the second after which each worker looks again; one that does not must not keep a version alive."""

_WORKERS_POLL_S = 0.02

_REPORT_EVERY_S = 0.5

_MOST_NAMED = 20
"""Requests that a report of an overdue drain names; more than a person would read."""


class OnTimeout(StrEnum):
    """What happens when requests are still in flight at the end of a drain's time."""

    FAIL = "fail"
    """The command ends there, with exit code 4; nothing is cut."""
    WAIT = "wait"
    """It tells what remains and goes on waiting, without end."""
    PROCEED = "proceed"
    """It tells what remains and goes on with what comes next, which may cut the requests."""


class DrainOutcome(NamedTuple):
    """How a drain ended: `remaining` requests when the time was up, 0 when it is complete.

    `named` are those of them that are known by name, oldest first, such as
    "GET /report for 8.2 s (id 4f1c-1a)".
    """

    remaining: int
    duration_s: float
    named: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        return self.remaining == 0


@dataclass(eq=False, repr=False)
class Drain:
    """Watches the requests of versions come to their end; `clock` is monotonic.

    `listeners` are the addresses of those of one version that are meant, by their names; all of it without any.
    """

    traffic: Traffic
    report: Reporter
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    listeners: Mapping[str, Address] = field(default_factory=dict)

    def wait(
        self,
        versions: Sequence[str],
        timeout_s: float,
        on_timeout: OnTimeout = OnTimeout.FAIL,
        look: Callable[[], None] = lambda: None,
    ) -> DrainOutcome:
        """Wait until two looks in a row find no request in flight, at most `timeout_s` seconds.

        With `OnTimeout.WAIT` the time is only when to tell what remains. `look` is called all the while, and ends
        the wait by raising.
        """
        label, is_overdue = " and ".join(self._names(versions)), False
        began, seen_none, reported = self.clock(), False, -_REPORT_EVERY_S
        while True:
            look()
            in_flight = sum(map(self._in_flight, versions))
            elapsed = self.clock() - began
            if in_flight == 0 and seen_none:
                self.report(Drained(label, elapsed))
                return DrainOutcome(0, elapsed)
            if in_flight and elapsed >= timeout_s and not is_overdue:
                is_overdue = True
                named = self._named(versions)
                self.report(Overdue(label, in_flight, elapsed, named, will_wait=on_timeout is OnTimeout.WAIT))
                if on_timeout is not OnTimeout.WAIT:
                    return DrainOutcome(in_flight, elapsed, named)
            if in_flight and elapsed - reported >= _REPORT_EVERY_S:
                self.report(self._look(versions, label, in_flight, timeout_s - elapsed))
                reported = elapsed
            seen_none = in_flight == 0
            self.sleep(_POLL_S)

    def wait_for_workers(self, serial: int) -> None:
        """Wait until all workers act by the state of that serial, so that they keep no connection to who is stopping.

        They look with each request, and once a second. A signal that meets a request on a kept connection may cost it.
        """
        deadline = self.clock() + _WORKERS_WAIT_S
        while not self.traffic.is_state_known(serial) and self.clock() < deadline:
            self.sleep(_WORKERS_POLL_S)

    def _in_flight(self, version: str) -> int:
        if self.listeners:
            return self.traffic.in_flight_on(version, list(self.listeners.values()))
        return self.traffic.in_flight(version)

    def _names(self, versions: Sequence[str]) -> Sequence[str]:
        return list(self.listeners) or versions

    def _look(self, versions: Sequence[str], label: str, in_flight: int, left_s: float) -> Draining:
        rows = self._rows(versions)
        if not rows:
            return Draining(label, in_flight, 0.0, "", left_s)
        return Draining(label, in_flight, rows[0].age_s, f"{rows[0].method} {rows[0].path}", left_s)

    def _named(self, versions: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(_name_of, self._rows(versions)[:_MOST_NAMED]))

    def _rows(self, versions: Sequence[str]) -> list[Row]:
        if self.listeners:
            return []  # which of them has a request is not known by name
        rows = [row for version in versions for row in self.traffic.in_flight_rows(version)]
        return sorted(rows, key=lambda row: -row.age_s)


def _name_of(row: Row) -> str:
    id_text = f" (id {row.request_id})" if row.request_id else ""
    return f"{row.method} {row.path} for {row.age_s:.1f} s{id_text}"
