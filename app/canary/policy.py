"""What follows from one look at a rollout: a step more, waiting, or back. It is pure: same look, same verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from app.canary.course import HIGHEST_FIRST, percent
from app.canary.guards import broken
from app.canary.rollout import Glance, Rollout

__all__ = ["DOUBT", "FEWEST_CLIENTS", "PROOF", "Decision", "Ruling", "judge"]

PROOF: Final = 20.0
"""With so much evidence for it a release has proven itself: one in twenty bad ones does, at most."""

DOUBT: Final = 0.1
"""From this part of the threshold on, the release gets no more traffic until it is clear."""

FEWEST_CLIENTS: Final = 3
"""What only one or two clients meet may be theirs."""

_MATTERS: Final = {"failed": 0.005, "slow50": 0.08, "slow95": 0.03}
"""By what share of its requests a canary must have more of a measure, or nobody would want to go back for it.

Of times that are spread as times of requests are, those of a release that needs a fifth longer go beyond both.
"""


class Decision(StrEnum):
    """What is to be done."""

    WAIT = "wait"
    HOLD = "hold"
    STEP = "step"
    PROMOTE = "promote"
    BACK = "back"


class Ruling(NamedTuple):
    """The rollout after the look, what is to be done, and why, in words that go after the canary's name."""

    rollout: Rollout
    decision: Decision
    reason: str


def judge(rollout: Rollout, look: Glance) -> Ruling:
    """What one look means. An order to abort goes before everything, one to promote after what speaks against it."""
    now = rollout.seen(look)
    found = filter(None, (rule(now, look) for rule in _RULES))
    decision, reason = next(found)
    after = now.stepped(look.at_s) if decision is Decision.STEP else now
    return Ruling(after, decision, reason)


_Found = tuple[Decision, str] | None


def _aborted(now: Rollout, look: Glance) -> _Found:
    return (Decision.BACK, "it was told to go back") if look.order == "abort" else None


def _guarded(now: Rollout, look: Glance) -> _Found:
    wrong = broken(now, look)
    return (Decision.BACK, wrong) if wrong else None


def _convicted(now: Rollout, look: Glance) -> _Found:
    if now.evidence.value < now.course.threshold or not _matters(now, look):
        return None
    return Decision.BACK, "the evidence against it is enough"


def _matters(now: Rollout, look: Glance) -> bool:
    """Whether what speaks against it is worth going back for."""
    if now.judged.canary.completed < now.course.fewest or look.clients < FEWEST_CLIENTS:
        return False
    return any(now.excess(measure) >= least for measure, least in _MATTERS.items())


def _ordered(now: Rollout, look: Glance) -> _Found:
    return _ORDERS.get(look.order)


_ORDERS: Final[Mapping[str, _Found]] = {
    "promote": (Decision.PROMOTE, "it was told to go on"),
    "hold": (Decision.HOLD, "it was told to wait"),
}


def _warms_up(now: Rollout, look: Glance) -> _Found:
    return None if now.is_warm else (Decision.WAIT, "it is warming up")


def _lasts(now: Rollout, look: Glance) -> _Found:
    left_s = now.course.steps[now.step].least_s - (look.at_s - now.step_began_s)
    return (Decision.WAIT, f"this step lasts {left_s:.0f} s more") if left_s > 0 else None


def _unclear(now: Rollout, look: Glance) -> _Found:
    """What keeps it from going on. After all too long, that becomes what the operator has chosen for that."""
    decision, why = next(filter(None, (doubt(now, look) for doubt in DOUBTS)), (Decision.WAIT, ""))
    if not why:
        return None
    if look.at_s - now.step_began_s < now.course.patience_s:
        return decision, why
    return _INCONCLUSIVE[now.course.on_inconclusive], f"inconclusive: {why}"


_INCONCLUSIVE: Final = {"hold": Decision.HOLD, "promote": Decision.PROMOTE, "abort": Decision.BACK}


def _is_suspected(now: Rollout, look: Glance) -> _Found:
    value = now.evidence.value
    if value < DOUBT * now.course.threshold:
        return None
    return (
        Decision.HOLD,
        f"the evidence against it is {value:.0f} of {now.course.threshold:.0f}; held until it is clear",
    )


def _is_unseen(now: Rollout, look: Glance) -> _Found:
    if now.in_step >= now.course.enough or _is_too_little(now, look):
        return None
    what = "client" if now.course.is_sticky else "request"
    return Decision.WAIT, f"{now.in_step} of the {now.course.enough} {what}s that this step needs are done"


def _is_too_little(now: Rollout, look: Glance) -> bool:
    """Whether a step has shown that so little traffic decides nothing, and the next one is still a small one."""
    lasted_s = look.at_s - now.step_began_s
    return lasted_s >= now.course.patience_s / 5 and not now.is_at_last_step and now.next_weight <= HIGHEST_FIRST


def _is_unwell(now: Rollout, look: Glance) -> _Found:
    if look.is_shut:
        return Decision.WAIT, "connections to it fail"
    return (Decision.WAIT, "its last health check failed") if look.failed_checks else None


def _is_unproven(now: Rollout, look: Glance) -> _Found:
    if not now.course.needs_proof or not now.is_at_last_step or now.evidence.proof >= PROOF:
        return None
    return Decision.WAIT, f"the evidence for it is {now.evidence.proof:.1f} of {PROOF:.0f}"


DOUBTS: Final[Sequence[Callable[[Rollout, Glance], _Found]]] = (
    _is_suspected,
    _is_unseen,
    _is_unwell,
    _is_unproven,
)


def _ahead(now: Rollout, look: Glance) -> _Found:
    """Where nothing keeps it."""
    if now.is_at_last_step:
        return Decision.PROMOTE, "nothing speaks against it"
    return Decision.STEP, f"nothing speaks against it, so it gets {percent(now.next_weight)}"


_RULES: Final[Sequence[Callable[[Rollout, Glance], _Found]]] = (
    *(_aborted, _guarded, _convicted, _ordered),
    *(_warms_up, _lasts, _unclear, _ahead),
)
"""The first that has something to say decides."""
