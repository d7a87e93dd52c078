"""The past in columns, kept in memory: only what is new is read, and never much at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from app.dashboard.observation import Column, Figures, Past
from app.metrics.snapshot import Series

__all__ = ["Timeline"]

_SLICE_STEPS = 60
"""Steps read in one go. Ten minutes take some milliseconds to read and six hours fifty, in which a worker
would serve nobody; this many take one or two."""

LAG_S = 1.2
"""So long after its end a column is read. The metrics' leader closes a second once a second; before it has done so,
what happened can only be guessed to its second, and a column is never read twice."""

Read = Callable[[range, int], Mapping[str, Series]]


class Timeline:
    """The last `columns` columns of `step_s · steps` seconds each.

    Args:
        step_s: a step of the metrics history, 1 or 10 seconds.
        steps: how many of them make a column.
        read: gives the series of some ticks (`SharedMetrics.series`).
        pause: is called between two slices, so that others may work.
        is_counted: whether metrics are on.

    Attributes:
        last: what `past` gave the last time.
    """

    def __init__(
        self,
        step_s: int,
        steps: int,
        columns: int,
        read: Read,
        pause: Callable[[], None],
        *,
        is_counted: bool = True,
    ) -> None:
        self._step_s = step_s
        self._steps = steps
        self._read = read
        self._pause = pause
        self._columns: deque[Column] = deque(maxlen=columns)
        self._next = 0
        self.last = Past(step_s * steps, 0.0, (Column(),) * columns, is_counted)

    @property
    def column_s(self) -> int:
        """The length of a column."""
        return self._step_s * self._steps

    def past(self, monotonic_s: float, wall_s: float) -> Past:
        """The columns that are certain at this moment, given on both clocks; the same object until a new one is."""
        end = int(monotonic_s - LAG_S) // self.column_s
        if end <= self._next:
            return self.last
        room = self._columns.maxlen or 0
        first = max(self._next, end - room)
        per_slice = max(1, _SLICE_STEPS // self._steps)
        for start in range(first, end, per_slice):
            if start > first:
                self._pause()
            self._extend(start, min(start + per_slice, end))
        self._next = end
        columns = tuple(self._columns)
        if len(columns) < room:
            columns = (Column(),) * (room - len(columns)) + columns
        self.last = replace(self.last, end=wall_s - (monotonic_s - end * self.column_s), columns=columns)
        return self.last

    def _extend(self, start: int, end: int) -> None:
        """Reads the columns from `start` up to `end`; those before the clock's zero never were."""
        first = max(0, start)
        series = self._read(range(first * self._steps, end * self._steps), self._step_s)
        self._columns.extend(Column() for _ in range(start, min(first, end)))
        for column in range(max(0, end - first)):
            steps = slice(column * self._steps, (column + 1) * self._steps)
            self._columns.append(Column(**{name: _together(of, steps) for name, of in series.items()}))


def _together(series: Series, steps: slice) -> Figures:
    """Some steps as one. Counts add up; of in-flight and of the p95 the highest counts, for a peak must not hide
    between two steps; the p50 is that of the step with the most requests.
    """
    requests = series.requests[steps]
    busiest = requests.index(max(requests))
    return Figures(
        requests=sum(requests),
        failed=sum(series.failed[steps]),
        p50_ms=series.p50_ms[steps][busiest],
        p95_ms=_highest(series.p95_ms[steps]),
        in_flight=max(series.in_flight[steps]),
    )


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
