"""What needs no statistics: a canary that is plainly broken goes back at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from app.canary.outcomes import Outcomes
from app.canary.rollout import WINDOW_S, Glance, Rollout

__all__ = ["broken"]

_FAILED_CHECKS: Final = 3
_FEWEST: Final = 20
_HALF: Final = 0.5
_STABLE_IS_WELL: Final = 0.1


def broken(rollout: Rollout, look: Glance) -> str:
    """In words, what is plainly wrong with the canary; empty when nothing is. `rollout` has seen the look."""
    return next(filter(None, (guard(rollout, look) for guard in _GUARDS)), "")


def _has_ended(rollout: Rollout, look: Glance) -> str:
    return f"it has ended ({look.ended})" if look.ended else ""


def _is_unhealthy(rollout: Rollout, look: Glance) -> str:
    if look.failed_checks < _FAILED_CHECKS:
        return ""
    return f"{look.failed_checks} health checks in a row failed"


def _fails(rollout: Rollout, look: Glance) -> str:
    recent = look.counts.since(rollout.recent[0][1])
    canary, stable = recent
    if min(canary.completed, stable.completed) < _FEWEST:
        return ""
    if _share(canary) < _HALF or _share(stable) >= _STABLE_IS_WELL:
        return ""
    what = "clients" if rollout.course.is_sticky else "requests"
    return f"{canary.failed} of its {canary.completed} {what} of the last {WINDOW_S:g} s failed"


def _hangs(rollout: Rollout, look: Glance) -> str:
    stable = look.counts.since(rollout.recent[0][1]).stable
    if look.at_s - rollout.was_at_work_s < WINDOW_S or not stable.completed:
        return ""
    return f"it has {look.in_flight} requests in hand and has completed none for {WINDOW_S:g} s"


def _share(outcomes: Outcomes) -> float:
    return outcomes.failed / outcomes.completed


_GUARDS: Final[Sequence[Callable[[Rollout, Glance], str]]] = (_has_ended, _is_unhealthy, _fails, _hangs)
