"""A rollout under way as a value: how far it is, what was counted and what that says. It goes through JSON unharmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from app.canary.course import Course
from app.canary.evidence import CanaryEvidence
from app.canary.outcomes import MEASURES, Pair

__all__ = ["Glance", "Rollout", "WINDOW_S"]

WINDOW_S: Final = 10.0
"""What the guards look back over."""


class Glance(NamedTuple):
    """What is found at one moment.

    Attributes:
        at_s: seconds since the rollout began.
        counts: what was counted since then.
        clients: of how many different clients the canary has had requests, or a lower bound of that.
        in_flight: requests that the canary has in hand.
        ended: in words, how its process has ended; empty while it runs.
        failed_checks: failed health checks in a row.
        is_shut: the router sends it nothing, because connections to it fail.
        order: what the operator wants: "", hold, promote or abort.
    """

    at_s: float
    counts: Pair
    clients: int = 3
    in_flight: int = 0
    ended: str = ""
    failed_checks: int = 0
    is_shut: bool = False
    order: str = ""


_NOTHING: Final = Pair()


class Rollout(NamedTuple):
    """How far it is.

    Attributes:
        step, step_began_s: the number of the step it is at, and when that began.
        last: the look before.
        is_warm: what the canary does is judged by now.
        open, open_since_s: what is counted and not judged yet, because its second is not over.
        evidence, judged: what was judged, and what it says.
        expected: for each of `MEASURES`, how many of the canary's requests would have had it at the stable version in
            the same seconds.
        in_step: the canary's requests, or clients, that were judged in this step.
        recent: (seconds, counts) of the looks of the last `WINDOW_S`, and of the one before these.
        was_at_work_s: when the canary last completed a request, or had hardly any to do.
    """

    course: Course
    step: int = 0
    step_began_s: float = 0.0
    last: Pair = _NOTHING
    is_warm: bool = False
    open: Pair = _NOTHING
    open_since_s: float = 0.0
    evidence: CanaryEvidence = CanaryEvidence()
    judged: Pair = _NOTHING
    expected: tuple[float, ...] = (0.0,) * len(MEASURES)
    in_step: int = 0
    recent: tuple[tuple[float, Pair], ...] = ((0.0, _NOTHING),)
    was_at_work_s: float = 0.0

    @property
    def weight(self) -> int:
        """The canary's share, in hundredths of a per cent."""
        return self.course.steps[self.step].weight

    @property
    def is_at_last_step(self) -> bool:
        """The next one is all of the traffic."""
        return self.step == len(self.course.steps) - 1

    @property
    def next_weight(self) -> int:
        """The share of the next step."""
        return self.course.steps[self.step + 1].weight

    def excess(self, measure: str) -> float:
        """By what share of its requests, 0…1, the canary has more of a measure than stable in the same seconds."""
        at = MEASURES.index(measure)
        canary = self.judged.canary
        return (canary[at + 1] - self.expected[at]) / canary.completed if canary.completed else 0.0

    def stepped(self, at_s: float) -> Rollout:
        """At the next step; clients that stay with their version are judged anew there."""
        ahead = self._replace(step=self.step + 1, step_began_s=at_s, in_step=0)
        if not self.course.is_sticky:
            return ahead
        return ahead._replace(
            evidence=CanaryEvidence(),
            judged=_NOTHING,
            expected=(0.0,) * len(MEASURES),
            open=_NOTHING,
            recent=((at_s, self.last),),
        )

    def seen(self, look: Glance) -> Rollout:
        """With what has been counted since the look before."""
        more = look.counts.since(self.last)
        recent = (*self.recent, (look.at_s, look.counts))
        while len(recent) > 1 and recent[1][0] <= look.at_s - WINDOW_S:
            recent = recent[1:]
        is_at_work = more.canary.completed > 0 or look.in_flight < _MANY_IN_FLIGHT
        now = self._replace(
            last=look.counts, recent=recent, was_at_work_s=look.at_s if is_at_work else self.was_at_work_s
        )
        if not self.is_warm:
            warm_up = self.course
            is_over = look.at_s >= warm_up.warm_up_s or look.counts.canary.completed >= warm_up.warm_up_requests
            return now._replace(is_warm=is_over, open_since_s=look.at_s, step_began_s=look.at_s)
        now = now._replace(open=self.open.plus(more))
        if look.at_s - self.open_since_s < self.course.stratum_s - _JITTER_S:
            return now
        return now._closed(look.at_s)

    def _closed(self, at_s: float) -> Rollout:
        """With the time that is open judged as one."""
        canary, stable = self.open
        expected = self.expected
        if stable.completed:
            share = canary.completed / stable.completed
            expected = tuple(one + share * events for one, events in zip(expected, stable[1:], strict=True))
        else:  # nothing to compare with: the canary is taken to be as it should
            expected = tuple(one + events for one, events in zip(expected, canary[1:], strict=True))
        return self._replace(
            open=_NOTHING,
            open_since_s=at_s,
            evidence=self.evidence.seen(self.open),
            judged=self.judged.plus(self.open),
            expected=expected,
            in_step=self.in_step + canary.completed,
        )

    def as_json(self) -> dict[str, Any]:
        """For `read`."""
        return {**self._asdict(), "course": self.course._asdict(), "evidence": self.evidence.as_json()}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Rollout:
        """From what `as_json` gave, gone through JSON: the same value."""
        pairs = {name: Pair.read(told[name]) for name in ("last", "open", "judged")}
        return cls(
            **{
                **told,
                **pairs,
                "course": Course.read(told["course"]),
                "evidence": CanaryEvidence.read(told["evidence"]),
                "expected": tuple(told["expected"]),
                "recent": tuple((at_s, Pair.read(counts)) for at_s, counts in told["recent"]),
            }
        )


_MANY_IN_FLIGHT: Final = 20
"""A canary that has so many requests in hand should get some of them done."""

_JITTER_S: Final = 0.1
"""A look that comes a little early still ends its second."""
