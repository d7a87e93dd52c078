"""What is counted and known of logins, for who looks on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.logins.refusals import OUTCOMES, REASONS

__all__ = ["KeyState", "LoginFigures"]


class KeyState(NamedTuple):
    """How it stands with the keys of one issuer, in one worker.

    Attributes:
        source: where they come from.
        keys: how many there are.
        age_s: how long ago they were fetched; None while there are none.
        fault: why they could not be fetched the last time, or what of them is not used; "" when all is well.
    """

    source: str
    keys: int
    age_s: float | None
    fault: str


class LoginFigures(NamedTuple):
    """What logins have said since the metrics file was made, over all workers.

    Attributes:
        counts: how often each of `OUTCOMES`.
        keys: of each issuer, as the worker has them that is asked.
    """

    counts: Sequence[int]
    keys: Sequence[KeyState] = ()

    @property
    def passed(self) -> int:
        """How many requests were let through."""
        return self.counts[0]

    @property
    def refused(self) -> Mapping[str, int]:
        """How many were refused, by reason."""
        return dict(zip(REASONS, self.counts[1:], strict=False))

    @property
    def observed(self) -> Mapping[str, int]:
        """How many would have been, by reason, where the mode is observe."""
        return dict(zip(REASONS, self.counts[len(OUTCOMES) - len(REASONS) :], strict=True))

    def as_json(self) -> dict[str, Any]:
        """The same for programs; of the reasons those that there were."""
        return {
            "passed": self.passed,
            "refused": {reason: count for reason, count in self.refused.items() if count},
            "would_refuse": {reason: count for reason, count in self.observed.items() if count},
            "keys": [
                {
                    "source": state.source,
                    "keys": state.keys,
                    "age_s": None if state.age_s is None else round(state.age_s, 1),
                    "fault": state.fault or None,
                }
                for state in self.keys
            ],
        }
