"""The file beside the state that tells of the rollout under way, or of the last one: for `canary status` and the page.

It is written anew with each look. Nothing hangs on it: who conducts a rollout has it in hand.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from app.canary.course import percent
from app.canary.policy import Decision, Ruling
from app.canary.rollout_text import figures, sentence
from app.state.process_birth import birth
from app.state.split import Split
from app.state.store import replace_file

__all__ = ["CanaryRecord", "evidence_of", "read_record", "record_path", "write_record"]


class CanaryRecord(NamedTuple):
    """How a rollout stands.

    Attributes:
        salt: that of its split.
        at: wall time of the last look.
        pid, birth: the command that conducts it.
        decision: one of `Decision`; `back` and `promote` end it.
        reason: why.
        sentence: all of it in words.
        coming: what comes next, in words.
        steps: the weights, in hundredths of a per cent.
        figures: `app.canary.rollout_text.figures`.
        rollout: the value itself.
    """

    salt: str
    canary: str
    stable: str
    at: float
    pid: int
    birth: str | None
    decision: str
    reason: str
    sentence: str
    coming: str
    steps: list[int]
    figures: dict[str, Any]
    rollout: dict[str, Any]

    @classmethod
    def of(cls, ruling: Ruling, salt: str, names: tuple[str, str], at: float) -> CanaryRecord:
        """A ruling; `names` are those of the canary and the stable version, with their releases."""
        rollout, decision, reason = ruling
        said = sentence(rollout, *names, reason)
        return cls(
            salt,
            *names,
            at,
            os.getpid(),
            birth(os.getpid()),
            decision.value,
            reason,
            said,
            _coming(ruling),
            [step.weight for step in rollout.course.steps],
            figures(rollout),
            rollout.as_json(),
        )

    def is_of(self, split: Split | None) -> bool:
        """Whether it is about this split: one that was made by hand, or by another rollout, has another salt."""
        return split is not None and split.salt == self.salt


def _coming(ruling: Ruling) -> str:
    rollout = ruling.rollout
    if ruling.decision in (Decision.BACK, Decision.PROMOTE):
        return ""
    return "all of the requests" if rollout.is_at_last_step else percent(rollout.next_weight)


def record_path(folder: Path) -> Path:
    """Where it is, in the state file's folder."""
    return folder / "canary.json"


def write_record(folder: Path, record: CanaryRecord) -> None:
    """Keep it; a disk that is full keeps nobody from going on."""
    with suppress(OSError):
        replace_file(record_path(folder), json.dumps(record._asdict()).encode(), is_flushed=False)


def read_record(folder: Path) -> CanaryRecord | None:
    """The last one; None where there is none that can be read."""
    try:
        return CanaryRecord(**json.loads(record_path(folder).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def evidence_of(folder: Path, split: Split) -> tuple[float, float] | None:
    """What speaks against the canary of a split, and how much leads back; None where nobody judges it."""
    record = read_record(folder)
    if record is None or not record.is_of(split):
        return None
    return float(record.figures["evidence"]["all"]), float(record.figures["needed"])
