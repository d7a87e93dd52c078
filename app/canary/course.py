"""How a rollout is to go: by which steps, and what it takes to go on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.state.split import WHOLE

__all__ = ["DEFAULT_STEPS", "HIGHEST_FIRST", "Course", "Step", "fitted", "parse_steps", "percent"]


class Step(NamedTuple):
    """So much of the traffic, in hundredths of a per cent, for so many seconds at least."""

    weight: int
    least_s: float


_LEAST_S: Final = 60.0
DEFAULT_STEPS: Final = "1% 5% 25% 50%"

_STEP: Final = re.compile(r"(\d{1,3}(?:\.\d{1,2})?) ?%?(?: ?: ?(\d+(?:\.\d+)?)(s|m|h)?)?")
_UNITS: Final[Mapping[str, float]] = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_steps(text: str, least_s: float = _LEAST_S) -> tuple[Step, ...]:
    """The steps in `1% 5%:30s 25%:2m`; one without a time lasts `least_s`. Raises `ValueError` saying why."""
    steps: list[Step] = []
    for word in text.replace(",", " ").split():
        match = _STEP.fullmatch(word)
        if match is None:
            raise ValueError(f"{word!r} is no step, which is a share and perhaps a time, as in 5%:60s")
        share, seconds, unit = match.groups()
        weight = round(float(share) * 100)
        if not 0 < weight < WHOLE:
            raise ValueError(f"a step is more than 0 and less than 100 per cent, and {word!r} is not")
        if steps and weight <= steps[-1].weight:
            raise ValueError(f"each step is more than the one before it, and {word!r} is not")
        steps.append(Step(weight, float(seconds) * _UNITS[unit or ""] if seconds else least_s))
    if not steps:
        raise ValueError("there is no step, as in 1% 5% 25% 50%")
    return tuple(steps)


_DECIDING_REQUESTS: Final = 200
_DECIDING_S: Final = 300
HIGHEST_FIRST: Final = 2_500
"""Little traffic does not get further than this without having been judged."""


def fitted(steps: Sequence[Step], rate_per_s: float) -> tuple[Step, ...]:
    """The steps, begun with so much that little traffic can decide: 200 requests in five minutes, at most a quarter.

    `rate_per_s` is the traffic of now; 0 is as little as can be.
    """
    wanted = HIGHEST_FIRST
    if rate_per_s > 0:
        wanted = min(HIGHEST_FIRST, round(WHOLE * _DECIDING_REQUESTS / (rate_per_s * _DECIDING_S)))
    if wanted <= steps[0].weight:
        return tuple(steps)
    later = [step for step in steps if step.weight > wanted]
    return (Step(wanted, steps[0].least_s), *later)


class Course(NamedTuple):
    """What was decided before a rollout began, and holds until it ends.

    Attributes:
        is_sticky: a client stays with its version, so what is counted are clients, each once.
        needs_proof: it is not enough that nothing speaks against the release; see `CanaryEvidence.proof`.
        on_inconclusive: what comes of a step that cannot be judged for `patience_s`: hold, promote or abort.
        warm_up_s, warm_up_requests: what comes first is not judged, up to whichever ends sooner.
    """

    steps: tuple[Step, ...]
    is_sticky: bool = False
    needs_proof: bool = False
    on_inconclusive: str = "hold"
    patience_s: float = 900.0
    warm_up_s: float = 30.0
    warm_up_requests: int = 20

    @property
    def enough(self) -> int:
        """So many requests, or clients, must have come to their end at the canary in a step."""
        return 50 if self.is_sticky else 200

    @property
    def fewest(self) -> int:
        """With fewer nothing is held against it."""
        return 20 if self.is_sticky else 50

    @property
    def stratum_s(self) -> float:
        """Within so many seconds all requests, or clients, are taken to have met the same circumstances."""
        return 10.0 if self.is_sticky else 1.0

    @property
    def threshold(self) -> float:
        """The evidence that a rollback needs: 1 in so many good releases is rolled back.

        With clients that stay it begins anew at each step, so all steps share the one in a hundred.
        """
        return 100.0 * (len(self.steps) if self.is_sticky else 1)

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Course:
        """From its `_asdict`, gone through JSON."""
        return cls(**{**told, "steps": tuple(Step(*step) for step in told["steps"])})


def percent(weight: int, gap: str = " ") -> str:
    """A weight for people: `5 %`, `0.25 %`."""
    return f"{weight / 100:g}{gap}%"
