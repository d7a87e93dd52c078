"""Do more requests fail after a switch than before it? A judgement with a bound for its error.

Both shares are compared by Fisher's exact test, one-sided: were the two versions equally good, how likely would
it be to find so many of all the failures on the new one's side, or more? So two samples of any size compare, and
nothing is approximated. To compare each with an interval of its own would ask for far more than certainty: two 99 %
intervals part only where chance has one in a thousand or less, and 54 failures of 238 beside 8 of 100 do not.

A watch looks often, and who looks often enough finds something. So the looks share one bound: of a hundred watched
releases that are no worse, at most one is given up, however long the watch. Requests are taken to be independent;
a client that repeats one mistake is not, which is what `FEWEST_FAILURES` is for. What happens to both versions at
one time (a database that fails) a comparison of before and after cannot tell from the release.
"""

from __future__ import annotations

from enum import StrEnum
from math import exp, lgamma, log, log1p
from typing import Final, NamedTuple

__all__ = ["BOUND", "FEWEST_FAILURES", "FEWEST_TO_COMPARE", "Looks", "Share", "Verdict"]
__all__ += ["chance", "exceeds", "failures_for_proof", "judge"]

BOUND: Final = 0.01
"""The probability that a release which is no worse is given up, over all looks of a watch together."""

_DOUBT: Final = 0.05
"""What chance explains less often is no proof, but worth a word."""

FEWEST_FAILURES: Final = 5
"""Fewer may be one client's mistake repeated, and prove nothing."""

FEWEST_TO_COMPARE: Final = 50
"""Requests that a version needs for its share, or its times, to be something to compare with."""

_TOLERATED: Final = 0.01
"""A share up to this is no regression, were the old version without any error."""

_TOLERATED_BLINDLY: Final = 0.05
"""The same where the old version had too little traffic to compare with."""

_LOOK_AGAIN: Final = 1.5
"""A further look is worth its part of the bound when there are so many times the requests of the last one."""


class Share(NamedTuple):
    """How many of so many requests failed."""

    failed: int
    requests: int

    @property
    def part(self) -> float:
        """The share itself, 0…1; 0 without requests."""
        return self.failed / self.requests if self.requests else 0.0


class Verdict(StrEnum):
    """What can be said about the new version's errors."""

    UNSEEN = "unseen"
    """It had no request."""
    NO_WORSE = "no worse"
    MORE = "more, within chance"
    """More failed, as may happen with a version that is no worse."""
    DOUBTFUL = "doubtful"
    """More failed, and chance seldom does that; but it is not proven."""
    WORSE = "worse"


class Looks:
    """Shares `BOUND` out over the looks of a watch: one half for the last look, the other one for those before it.

    The k-th of these gets 1/k(k+1) of its half. All these parts add up to no more than the half, so the chance
    that any look errs is below the bound, whatever the looks have to do with each other.
    """

    def __init__(self) -> None:
        self._made = 0
        self._next_at = float(FEWEST_FAILURES)

    def level(self, requests: int) -> float:
        """What chance must stay below for a proof at this number of requests; 0 while no look is due."""
        if requests < self._next_at:
            return 0.0
        self._made += 1
        self._next_at = requests * _LOOK_AGAIN
        return BOUND / 2 / (self._made * (self._made + 1))

    @staticmethod
    def last() -> float:
        """The same for the end of the watch."""
        return BOUND / 2


def judge(before: Share, after: Share, level: float) -> Verdict:
    """The verdict when a proof is what chance explains with a probability of at most `level`."""
    if not after.requests:
        return Verdict.UNSEEN
    if after.part <= max(before.part, _tolerated(before)):
        return Verdict.NO_WORSE
    probability = chance(before, after)
    if probability <= level and after.failed >= FEWEST_FAILURES:
        return Verdict.WORSE
    return Verdict.DOUBTFUL if probability <= _DOUBT else Verdict.MORE


def exceeds(before: Share, after: Share, allowance: float) -> bool:
    """Whether the share has grown by more than `allowance` (0…1), proven or not; no fewer failures count than in
    a proof.
    """
    return after.failed >= FEWEST_FAILURES and after.part > before.part + allowance


def chance(before: Share, after: Share) -> float:
    """How likely a version that is no worse has so many failures or more: the greatest of the ways to be no worse.

    It may be as good as the one before it, or fail no more than what is tolerated. Where there was too little to
    compare with only the latter counts.
    """
    tolerated = _binomial_tail(after.failed, after.requests, _tolerated(before))
    return tolerated if before.requests < FEWEST_TO_COMPARE else max(tolerated, _fisher_tail(before, after))


def failures_for_proof(before: Share, requests: int) -> int | None:
    """The fewest failures of so many requests that are a proof at the end of a watch; None when no number is."""
    low, high = FEWEST_FAILURES, requests
    if high < low or judge(before, Share(high, requests), Looks.last()) is not Verdict.WORSE:
        return None
    while low < high:
        middle = (low + high) // 2
        if judge(before, Share(middle, requests), Looks.last()) is Verdict.WORSE:
            high = middle
        else:
            low = middle + 1
    return low


def _tolerated(before: Share) -> float:
    return _TOLERATED if before.requests >= FEWEST_TO_COMPARE else _TOLERATED_BLINDLY


def _fisher_tail(before: Share, after: Share) -> float:
    """P(X ≥ after.failed), X hypergeometric: of all requests as many are drawn as came after, and failures counted."""
    n, drawn, bad = before.requests + after.requests, after.requests, before.failed + after.failed
    k = after.failed
    if k * n <= drawn * bad:
        return 1.0  # not above the mean: no evidence, and the sum below would be long
    term = exp(_log_choose(bad, k) + _log_choose(n - bad, drawn - k) - _log_choose(n, drawn))
    total = 0.0
    while term > total * _NEGLIGIBLE:
        total += term
        term *= (bad - k) * (drawn - k) / ((k + 1) * (n - bad - drawn + k + 1))
        k += 1
    return min(total, 1.0)


def _binomial_tail(k: int, n: int, p: float) -> float:
    """P(X ≥ k) of n independent requests that fail with probability p."""
    if k <= n * p:
        return 1.0
    term = exp(_log_choose(n, k) + k * log(p) + (n - k) * log1p(-p))
    total = 0.0
    while term > total * _NEGLIGIBLE:
        total += term
        term *= (n - k) * p / ((k + 1) * (1 - p))
        k += 1
    return min(total, 1.0)


_NEGLIGIBLE: Final = 1e-12
"""Above the mean each term is smaller than the one before it, and ever more so: what follows adds nothing."""


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
