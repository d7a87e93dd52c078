"""Who judges: our own rules, and those of two others as their documentation has them, on the same traffic."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from app.canary.course import DEFAULT_STEPS, Course, Step, fitted, parse_steps
from app.canary.outcomes import Outcomes, Pair
from app.canary.policy import Decision, Ruling, judge
from app.canary.rollout import Glance, Rollout


class Judge(Protocol):
    """Looks at one second after the other; `ended` is "" until it has made up its mind."""

    weight: int
    ended: str

    def second(self, more: Pair, p99_ms: float) -> None:
        """One more second is over; `p99_ms` is the canary's 99th percentile in it."""


class Ours:
    """The policy, as the conductor asks it."""

    def __init__(self, course: Course) -> None:
        self._ruling = Ruling(Rollout(course), Decision.WAIT, "")
        self._at_s, self._counts = 0.0, Pair()
        self.weight, self.ended = course.steps[0].weight, ""
        self.holds = False

    def second(self, more: Pair, p99_ms: float) -> None:
        """One more second is over."""
        self._at_s += 1
        self._counts = self._counts.plus(more)
        self._ruling = judge(self._ruling.rollout, Glance(self._at_s, self._counts))
        rollout, decision, reason = self._ruling
        self.weight = rollout.weight
        if decision in (Decision.BACK, Decision.PROMOTE):
            self.ended = decision.value
        elif reason.startswith("inconclusive"):
            self.ended = "inconclusive"


class Flagger:
    """Each minute success ≥ 99 % and p99 ≤ 500 ms, or the check has failed; five failed ones are too many."""

    def __init__(self) -> None:
        self.weight, self.ended = 1_000, ""
        self._at_s, self._failed = 0, 0
        self._minute = _Window(60)

    def second(self, more: Pair, p99_ms: float) -> None:
        """One more second is over."""
        self._at_s += 1
        self._minute.add(more.canary, p99_ms)
        if self._at_s % 60:
            return
        if self._minute.success < 0.99 or self._minute.p99_ms > 500:
            self._failed += 1
            self.ended = "back" if self._failed >= 5 else ""
        elif self.weight >= 5_000:
            self.ended = "promote"
        else:
            self.weight += 1_000


class Argo:
    """Each five minutes success ≥ 95 %, or the measurement has failed; more than three failed ones are too many.

    A fifth of the traffic more every ten minutes.
    """

    def __init__(self) -> None:
        self.weight, self.ended = 2_000, ""
        self._at_s, self._failed = 0, 0
        self._minutes = _Window(300)

    def second(self, more: Pair, p99_ms: float) -> None:
        """One more second is over."""
        self._at_s += 1
        self._minutes.add(more.canary, p99_ms)
        if self._at_s % 300 == 0 and self._minutes.success < 0.95:
            self._failed += 1
            self.ended = "back" if self._failed > 3 else ""
        if self._at_s % 600 == 0 and not self.ended:
            self.weight += 2_000
            self.ended = "promote" if self.weight >= 10_000 else ""


class _Window:
    """The last so many seconds of the canary."""

    def __init__(self, seconds: int) -> None:
        self._rows: deque[tuple[Outcomes, float]] = deque(maxlen=seconds)

    def add(self, more: Outcomes, p99_ms: float) -> None:
        self._rows.append((more, p99_ms))

    @property
    def success(self) -> float:
        completed = sum(one.completed for one, _ in self._rows)
        return 1 - sum(one.failed for one, _ in self._rows) / completed if completed else 1.0

    @property
    def p99_ms(self) -> float:
        return sum(p99_ms for _, p99_ms in self._rows) / len(self._rows)


class Kind(NamedTuple):
    """How a rollout of ours goes."""

    is_sticky: bool = False
    weight: int | None = None
    """Only this weight, for as long as it takes; else the steps that are set when nothing else is."""


def ours(kind: Kind, rate_per_s: float) -> Ours:
    """Our own rules."""
    if kind.weight is not None:
        return Ours(Course((Step(kind.weight, 1e9),), is_sticky=kind.is_sticky, warm_up_s=0.0))
    return Ours(Course(fitted(parse_steps(DEFAULT_STEPS), rate_per_s), is_sticky=kind.is_sticky))
