"""The backends of a version that has several, as its card lists them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.dashboard.observation import Observation
from app.dashboard.words import count_text, printable
from app.metrics.backend_rows import DRAINED, EJECTED, OK, UNHEALTHY, BackendRow
from app.units import GAP, NONE, duration_text

__all__ = ["BackendLine", "RecentRequests", "backend_lines"]

_WINDOW_S = 60.0
_MOST_LOOKS = 120

_TONES = {OK: "good", EJECTED: "bad", UNHEALTHY: "bad", DRAINED: "off"}

Counts = Mapping[str, Mapping[str, int]]
"""Requests by version and address."""


class BackendLine(NamedTuple):
    """One of them: "good", "bad" or "off", and what its cells say."""

    tone: str
    address: str
    state: str
    in_flight: str
    share: str


def backend_lines(seen: Observation, name: str) -> tuple[BackendLine, ...]:
    """A line for each backend of a version; none for a version that has one."""
    requests = seen.backend_requests.get(name, {})
    total = sum(requests.values())
    return tuple(_line(row, requests.get(row.address, 0), total) for row in seen.minute.backends.get(name, ()))


def _line(row: BackendRow, requests: int, total: int) -> BackendLine:
    state = f"{row.state}, {duration_text(row.ejected_for_s)} left" if row.state == EJECTED else row.state
    share = f"{100 * requests / total:.0f}{GAP}%" if total else NONE
    return BackendLine(_TONES[row.state], printable(row.address), state, count_text(row.in_flight), share)


class RecentRequests:
    """What each backend had of the last minute's requests; for who looks for the first time, since the beginning."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, Counts]] = deque(maxlen=_MOST_LOOKS)

    def update(self, backends: Mapping[str, Sequence[BackendRow]], at: float) -> Counts:
        """The requests of the minute before `at`, monotonic seconds."""
        now = {name: {row.address: row.requests for row in rows} for name, rows in backends.items()}
        while self._past and at - self._past[0][0] > _WINDOW_S:
            self._past.popleft()
        before = self._past[0][1] if self._past else {}
        self._past.append((at, now))
        return {name: _since(counts, before.get(name, {})) for name, counts in now.items()}


def _since(now: Mapping[str, int], before: Mapping[str, int]) -> Mapping[str, int]:
    # One that was put into the list again has begun anew.
    return {address: max(0, count - before.get(address, 0)) for address, count in now.items()}
