"""How strongly what was counted speaks against a canary: e-processes, which may be looked at at any time.

Of each closed second it is known how many requests of each version came to their end, and how many of both together
failed. Were it all the same to a request where it goes, those that failed would be spread over the versions like
balls drawn from an urn; when the odds to fail are ω times as high at the canary, by Fisher's noncentral hypergeometric
distribution. That holds whatever the common rate is, so an outage of what both use, the time of day and a change of
the weight speak neither for nor against.

The evidence is a likelihood ratio against the largest odds ratio that is put up with, as a mean over several
suspected ones. As long as the truth is within the tolerance, the chance that it *ever* reaches 100 is at most 1 in 100
(Ville's inequality), however long and however often one looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import exp, inf, log, log1p
from typing import Final, NamedTuple

from app.canary.outcomes import MEASURES, Pair

__all__ = ["AGAINST", "FOR", "HARMLESS_RATE", "CanaryEvidence", "Process", "Suspicion", "log_weight_of"]

_EPSILON: Final = 1e-18
"""What is left out of a sum is less than this part of it, which is below the rounding of a float."""

_SCALE: Final = 1e200
_LOG_SCALE: Final = log(_SCALE)


def _tail(first: int, step: int, last: int, odds: float, stratum: tuple[int, int, int]) -> tuple[float, float]:
    """Sum over the counts beyond `first` towards `last`, as parts of what `first` weighs: (sum, log of its scale)."""
    canary, stable, events = stratum
    term, total, scale, at = 1.0, 0.0, 0.0, first
    while at != last:
        low = at if step > 0 else at - 1  # of two neighbours, the one with fewer events at the canary
        up = (canary - low) * (events - low) * odds / ((low + 1) * (stable - events + low + 1))
        ratio = up if step > 0 else 1.0 / up
        term *= ratio
        total += term
        at += step
        if term > _SCALE:
            term, total, scale = term / _SCALE, total / _SCALE, scale + _LOG_SCALE
        elif ratio < 1.0 and term * ratio < _EPSILON * (total + 1.0) * (1.0 - ratio):
            break  # ratios only fall from here on, so a geometric series bounds the rest
    return total, scale


@lru_cache(maxsize=1 << 14)
def log_weight_of(canary: int, stable: int, events: int, at_canary: int, odds: float) -> float:
    """Minus the logarithm of the chance that `at_canary` of the events fall to the canary.

    Args:
        canary, stable: requests of each.
        events: of both together.
        odds: the canary's odds of an event over the stable version's, above 0.
    """
    stratum = canary, stable, events
    above, above_scale = _tail(at_canary, 1, min(canary, events), odds, stratum)
    below, below_scale = _tail(at_canary, -1, max(0, events - stable), odds, stratum)
    scale = max(above_scale, below_scale)
    return scale + log(exp(-scale) + above * exp(above_scale - scale) + below * exp(below_scale - scale))


class Suspicion(NamedTuple):
    """What is tested: `edge` is the odds ratio where the harmless ends, `factors` of it are the suspected ones."""

    edge: float
    factors: tuple[float, ...]


AGAINST: Final = Suspicion(1.25, (1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0))
"""Speaks against a canary whose odds are more than a quarter above the stable version's."""

FOR: Final = Suspicion(2.0, (0.8, 0.5, 0.25))
"""Speaks against the fear that they are twice as high, or higher."""


class Process(NamedTuple):
    """One e-process: the logarithm of the likelihood ratio for each suspected odds ratio."""

    logs: tuple[float, ...]

    @classmethod
    def begun(cls, suspicion: Suspicion) -> Process:
        """Nothing seen yet."""
        return cls((0.0,) * len(suspicion.factors))

    def seen(self, suspicion: Suspicion, canary: tuple[int, int], stable: tuple[int, int]) -> Process:
        """After one more second; `canary` and `stable` are (completed, events).

        A second in which only one version did something, or in which all requests fared alike, says nothing.
        """
        events = canary[1] + stable[1]
        if not canary[0] or not stable[0] or not events or events == canary[0] + stable[0]:
            return self
        seen = canary[0], stable[0], events, canary[1]
        edge = log_weight_of(*seen, suspicion.edge)
        return Process(
            tuple(
                known + edge - log_weight_of(*seen, suspicion.edge * factor)
                for known, factor in zip(self.logs, suspicion.factors, strict=True)
            )
        )

    @property
    def log_value(self) -> float:
        """The logarithm of the evidence; 0 is where it begins."""
        most = max(self.logs)
        return most + log(sum(exp(one - most) for one in self.logs) / len(self.logs))

    @property
    def value(self) -> float:
        """The evidence; infinite from where a float ends."""
        return _exp(self.log_value)


HARMLESS_RATE: Final = 0.005
"""A release of which fewer requests fail is not held up, by whatever factor that is more than before."""

_GOOD_RATE: Final = HARMLESS_RATE / 5
"""What the harmless is told apart by: some 1,000 requests without a failure are enough."""

_SHARES: Final = {"failed": 0.5, "slow50": 0.25, "slow95": 0.25}
"""What each measure counts for. A weighted mean of e-processes is one."""


class CanaryEvidence(NamedTuple):
    """All that speaks against a canary, and for it.

    Attributes:
        against: a process for each of `MEASURES`.
        proving: the same, that it is not twice as bad.
        few_fail: the logarithm of the likelihood ratio that fewer than `HARMLESS_RATE` of its requests fail.
    """

    against: tuple[Process, ...] = (Process.begun(AGAINST),) * len(MEASURES)
    proving: tuple[Process, ...] = (Process.begun(FOR),) * len(MEASURES)
    few_fail: float = 0.0

    def seen(self, second: Pair) -> CanaryEvidence:
        """After what came to its end in one more second, or in whatever time is taken as one."""
        canary, stable = second
        sides = [((canary[0], canary[at]), (stable[0], stable[at])) for at in range(1, len(MEASURES) + 1)]
        good = log1p((HARMLESS_RATE - _GOOD_RATE) / (1 - HARMLESS_RATE)) * (canary.completed - canary.failed)
        return CanaryEvidence(
            tuple(one.seen(AGAINST, *side) for one, side in zip(self.against, sides, strict=True)),
            tuple(one.seen(FOR, *side) for one, side in zip(self.proving, sides, strict=True)),
            self.few_fail + good + log(_GOOD_RATE / HARMLESS_RATE) * canary.failed,
        )

    @property
    def log_value(self) -> float:
        """The logarithm of the evidence against it."""
        parts = [log(_SHARES[name]) + one.log_value for name, one in zip(MEASURES, self.against, strict=True)]
        return _log_sum(parts)

    @property
    def value(self) -> float:
        """The evidence against it: 1 in the beginning, 100 is enough to roll back."""
        return _exp(self.log_value)

    @property
    def proof(self) -> float:
        """The evidence that it is not much worse, the least of all measures: 20 is a proof.

        Not much worse in failures: its odds are not doubled, or fewer than `HARMLESS_RATE` fail. Were only odds
        looked at, a release that never fails could not be told from one before it that never failed either.
        """
        failed, *slow = (one.log_value for one in self.proving)
        failures = _log_sum([log(0.5) + failed, log(0.5) + self.few_fail])
        return _exp(min(failures, *slow))

    def as_json(self) -> list[object]:
        """For `read`."""
        return [[list(one.logs) for one in part] for part in (self.against, self.proving)] + [self.few_fail]

    @classmethod
    def read(cls, told: Sequence[object]) -> CanaryEvidence:
        """From what `as_json` gave, digit by digit the same."""
        against, proving, few_fail = told
        return cls(_processes(against), _processes(proving), float(str(few_fail)))


def _processes(rows: object) -> tuple[Process, ...]:
    assert isinstance(rows, list)
    return tuple(Process(tuple(row)) for row in rows)


def _log_sum(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + log(sum(exp(one - most) for one in logs))


def _exp(value: float) -> float:
    return exp(value) if value < 700 else inf
