"""A rollout in words that a person understands."""

from __future__ import annotations

from app.canary.course import percent
from app.canary.outcomes import MEASURES, Pair
from app.canary.rollout import Rollout

__all__ = ["evidence_text", "figures", "odds_ratio", "sentence"]

_WHAT = {
    "failed": "failed",
    "slow50": "took longer than half of the stable version's before",
    "slow95": "took longer than 95 % of the stable version's before",
}


def sentence(rollout: Rollout, canary: str, stable: str, reason: str) -> str:
    """How it stands: `green r42 has 5 %: 12 of 640 requests failed (1.9 %), blue 20 of 12,160 (0.16 %). …`.

    `canary` and `stable` are the versions with their releases.
    """
    told = f"{canary} has {percent(rollout.weight)}: {_compared(rollout, stable)}. {evidence_text(rollout)}"
    return f"{told}; {reason}." if reason else f"{told}."


def evidence_text(rollout: Rollout) -> str:
    """`Evidence 37 of the 100 that a rollback needs`."""
    return f"Evidence {_short(rollout.evidence.value)} of the {rollout.course.threshold:.0f} that a rollback needs"


def _compared(rollout: Rollout, stable: str) -> str:
    """The measure that says most, of both versions."""
    values = dict(zip(MEASURES, rollout.evidence.against, strict=True))
    measure = max(MEASURES, key=lambda name: values[name].log_value)
    if values[measure].log_value < 1.0:
        measure = MEASURES[0]  # none says anything, and of failures everybody wants to know
    what = "clients" if rollout.course.is_sticky else "requests"
    canary, other = rollout.judged
    at = MEASURES.index(measure) + 1
    return (
        f"{canary[at]:,} of {canary.completed:,} {what} {_WHAT[measure]}{_share(canary[at], canary.completed)}, "
        f"{stable} {other[at]:,} of {other.completed:,}{_share(other[at], other.completed)}"
    )


def _share(events: int, completed: int) -> str:
    return f" ({100 * events / completed:.2g} %)" if completed else ""


def _short(value: float) -> str:
    if value > 1e6:
        return "more than a million"
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def odds_ratio(judged: Pair, at: int) -> float:
    """By what factor the canary's odds of an event are higher; with a half added to each count there is one always."""
    canary, stable = judged
    bad, good = canary[at] + 0.5, canary.completed - canary[at] + 0.5
    others_bad, others_good = stable[at] + 0.5, stable.completed - stable[at] + 0.5
    return bad * others_good / (good * others_bad)


def figures(rollout: Rollout) -> dict[str, object]:
    """The evidence for the history: both versions' counts, the odds ratios, and what they are worth."""
    evidence = rollout.evidence
    return {
        "unit": "client" if rollout.course.is_sticky else "request",
        "weight": rollout.weight,
        "step": rollout.step + 1,
        "canary": rollout.judged.canary._asdict(),
        "stable": rollout.judged.stable._asdict(),
        "odds_ratio": {name: round(odds_ratio(rollout.judged, at), 2) for at, name in enumerate(MEASURES, start=1)},
        "evidence": {"all": _figure(evidence.value)}
        | {name: _figure(one.value) for name, one in zip(MEASURES, evidence.against, strict=True)},
        "needed": rollout.course.threshold,
        "proof": _figure(evidence.proof),
    }


def _figure(value: float) -> float:
    """Three digits; what is beyond all bounds is told as the bound, for JSON has no infinity."""
    return float(f"{min(value, 1e99):.3g}")
