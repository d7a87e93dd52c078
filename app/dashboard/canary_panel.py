"""What the page shows of a canary that is judged: what speaks against it, why it waits, and what comes next."""

from __future__ import annotations

from math import log10
from typing import Final, NamedTuple

from app.canary.course import percent
from app.canary.policy import DOUBT
from app.dashboard.observation import Observation
from app.dashboard.words import count_text
from app.deploy.conduct.canary_record import CanaryRecord
from app.state.split import WHOLE

__all__ = ["CanaryPanel", "GAUGE", "canary_panel"]

GAUGE: Final = 480
"""How long the gauge is, in units of its drawing."""

_DECADES_BEYOND: Final = 1
"""The gauge ends at so many times ten of what a way back needs."""


class ArmRow(NamedTuple):
    """One version's line: its name, its share, what was judged of it, and what of that was bad in each way."""

    name: str
    share: str
    judged: str
    failed: str
    slow50: str
    slow95: str


class CanaryPanel(NamedTuple):
    """All of it; positions are on the gauge, whose scale is logarithmic and begins at 1.

    Attributes:
        text: how it stands, in words.
        coming: what comes next; "" once that is decided.
        unit: what is counted, requests or clients.
        value_at, doubt_at, back_at: where the evidence is, from where on the canary waits, and where it goes back.
        marks: what stands at these two.
        tone: "good", "busy" or "bad".
        arms: the canary and the stable version.
    """

    text: str
    coming: str
    unit: str
    value_at: int
    doubt_at: int
    back_at: int
    marks: tuple[str, str]
    tone: str
    arms: tuple[ArmRow, ArmRow]


def canary_panel(seen: Observation) -> CanaryPanel | None:
    """For the canary under way; None where there is none, or nobody judges it."""
    record, state = seen.canary, seen.state
    if record is None or state is None or not record.is_of(state.split):
        return None
    told = record.figures
    needed, value = float(told["needed"]), float(told["evidence"]["all"])
    weight = state.shared_at(seen.at)
    return CanaryPanel(
        text=record.sentence,
        coming=f"Next: {record.coming}." if record.coming else "",
        unit=f"{told['unit']}s",
        value_at=_place(value, needed),
        doubt_at=_place(DOUBT * needed, needed),
        back_at=_place(needed, needed),
        marks=(f"{DOUBT * needed:,.0f}: waits", f"{needed:,.0f}: goes back"),
        tone="bad" if value >= needed else "busy" if value >= DOUBT * needed else "good",
        arms=(
            _arm(record, "canary", percent(weight)),
            _arm(record, "stable", percent(WHOLE - weight)),
        ),
    )


def _place(value: float, needed: float) -> int:
    return round(GAUGE * min(1.0, log10(max(1.0, value)) / (log10(needed) + _DECADES_BEYOND)))


def _arm(record: CanaryRecord, which: str, share: str) -> ArmRow:
    counts = record.figures[which]
    bad = (_of(counts[name], counts["completed"]) for name in ("failed", "slow50", "slow95"))
    return ArmRow(getattr(record, which), share, count_text(counts["completed"]), *bad)


def _of(some: int, all_: int) -> str:
    return f"{count_text(some)} ({100 * some / all_:.2g} %)" if all_ else count_text(some)
