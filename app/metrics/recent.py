"""How a version has done of late, and beside its own past: what fails, where, since when, and whether it is slow."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Final

from app.facts import Failure, Recent
from app.metrics.shared import SharedMetrics
from app.metrics.snapshot import FailedRequest, Series, Snapshot, VersionStats
from app.metrics.throttled import Throttled
from app.situation import MANY_FAILED, SLOW_REQUESTS

__all__ = ["Recently", "recent"]

WINDOW_S: Final = 60

_BREAK_S: Final = 30
"""Failures that come so long after the ones before have a beginning of their own."""

_PAST_TENS: Final = 180
"""Half an hour: what a version was like before this minute."""

_MINUTE_TENS: Final = WINDOW_S // 10
_FEW_TENS: Final = 30
"""Five minutes: of less past nobody can tell what is usual."""
_FEW_REQUESTS: Final = 10
"""A p95 of fewer is one request's."""


def recent(
    stats: VersionStats,
    failures: Iterable[FailedRequest] = (),
    failing_for_s: float | None = None,
    usual_p95_ms: float | None = None,
) -> Recent:
    """What is known of a version by its figures, and the last failed requests of any version."""
    own = [one for one in failures if one.version == stats.name]
    kinds = _kinds(stats.failures, own) if stats.failed >= MANY_FAILED else ()
    return Recent(stats.requests, stats.failed, kinds, failing_for_s, stats.total.p95_ms, usual_p95_ms)


def _kinds(counts: Mapping[str, int], failures: Sequence[FailedRequest]) -> tuple[Failure, ...]:
    """The failures by cause, most first, with what those of them that are known by name have in common."""
    found = []
    for cause, count in sorted(counts.items(), key=lambda item: -item[1]):
        known = [one for one in failures if one.cause == cause]
        found.append(Failure(count, cause, _shared(one.status for one in known), _shared(one.path for one in known)))
    return tuple(found)


def _shared(values: Iterable[int | str]) -> str:
    """The value that most of them have; "" where none has."""
    counts = Counter(values)
    value, count = counts.most_common(1)[0] if counts else ("", 0)
    return str(value) if count * 2 > counts.total() else ""


class Recently:
    """How the versions do, beside what the metrics remember of them; what costs something is kept for as long."""

    def __init__(self, metrics: SharedMetrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._minute = Throttled(partial(metrics.snapshot, WINDOW_S), clock)
        self._seconds = Throttled(partial(self._series, 600, 1), clock)
        self._tens = Throttled(partial(self._series, _PAST_TENS, 10), clock)
        self._fresh: tuple[int, Snapshot] | None = None

    def _series(self, ticks: int, step: int) -> Mapping[str, Series]:
        end = int(self._clock()) // step
        return self._metrics.series(range(max(0, end - ticks), end), step)

    @property
    def minute(self) -> Snapshot:
        """The figures of the last minute."""
        return self._minute.value()

    def of(self, version: str, lived_s: float | None) -> Recent:
        """How a version did in the last minute, or since its process was started, where that is known and less."""
        window_s = WINDOW_S if lived_s is None else min(max(1.0, lived_s), WINDOW_S)
        seen = self.minute if window_s == WINDOW_S else self._since(int(window_s))
        stats, since = seen.versions[version], seen.at - window_s
        failing_for_s = self.failing_for_s(version) if stats.failed >= MANY_FAILED else None
        if failing_for_s is not None and window_s < WINDOW_S:
            failing_for_s = min(failing_for_s, window_s)
        return recent(
            stats,
            (one for one in seen.failures if one.at >= since),
            failing_for_s,
            self.usual_p95_ms(version) if stats.requests >= SLOW_REQUESTS else None,
        )

    def _since(self, seconds: int) -> Snapshot:
        """The figures of the last so many seconds, taken once for each."""
        if self._fresh is None or self._fresh[0] != seconds:
            self._fresh = seconds, self._metrics.snapshot(seconds)
        return self._fresh[1]

    def failing_for_s(self, version: str) -> float | None:
        """How long ago the failures that go on began; None where none are remembered."""
        failed = self._seconds.value()[version].failed
        began, gap = None, 0
        for ago, count in enumerate(reversed(failed), 1):
            gap = 0 if count else gap + 1
            if gap > (_BREAK_S if began else WINDOW_S):
                break
            began = ago if count else began
        return None if began is None else float(began)

    def usual_p95_ms(self, version: str) -> float | None:
        """The version's p95 as it mostly was in the half hour before the last minute; None where little is known."""
        series = self._tens.value()[version]
        tens = zip(series.requests[:-_MINUTE_TENS], series.p95_ms[:-_MINUTE_TENS], strict=True)
        known = [p95 for requests, p95 in tens if requests >= _FEW_REQUESTS and p95 is not None]
        return median(known) if len(known) >= _FEW_TENS else None
