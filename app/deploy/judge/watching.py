"""Watching a new version under traffic: does it do worse than the one before it did?

What the figures prove is in `app.deploy.judge.judgement`. What is not proven goes on, and is said.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from app.deploy.deployment import Deployment
from app.deploy.events import Watched, Watching
from app.deploy.judge.judgement import (
    FEWEST_TO_COMPARE,
    Looks,
    Share,
    Verdict,
    chance,
    exceeds,
    failures_for_proof,
    judge,
)
from app.deploy.judge.vigil import Vigil
from app.deploy.plan_run import PlanRun
from app.deploy.record.receipt import SwitchAccount
from app.deploy.traffic import Tally, TrafficSample

__all__ = ["Evidence", "watch"]

_POLL_S = 0.5

_LOOK_BACK_S: Final = (60, 600)
"""How much of the old version's time is compared: as long as the watch, within these bounds; the metrics keep
single seconds for ten minutes."""

_SLOWER: Final = 2.0
_SLOWER_MS: Final = 50.0
"""Twice as slow, and by an amount that somebody notices."""


class Evidence(NamedTuple):
    """The old version before the switch and the new one after it."""

    before: TrafficSample
    after: TrafficSample
    held: int = 0
    """Requests that had to wait after the switch because the new version did not take them."""
    allowance: float = 0.0
    """By how much the share of failed requests may grow, 0…1; 0 when only a proof counts."""

    def verdict(self, level: float) -> Verdict:
        """What is to be said of its errors, a proof being what chance explains with no more than `level`."""
        return judge(_share(self.before), _share(self.after), level)

    def errors(self, level: float, *, is_last: bool = False) -> str:
        """In words, how far more requests fail; empty while they do not, or that is neither proven nor forbidden."""
        shares = f"{_rate(self.after)} of its requests failed; before the switch {_rate(self.before)}"
        if level and self.verdict(level) is Verdict.WORSE:
            return shares
        # A share of few requests is no share yet; in the end there will be no more of them.
        is_share = is_last or self.after.requests >= FEWEST_TO_COMPARE
        if self.allowance and is_share and exceeds(_share(self.before), _share(self.after), self.allowance):
            return f"{shares}, and no more than {100 * self.allowance:g} % on top are allowed (watch_max_errors)"
        return ""

    def doubt(self) -> str:
        """In words, what speaks against it at the end of the watch without a proof; empty when nothing does."""
        if self.verdict(Looks.last()) is not Verdict.DOUBTFUL:
            return ""
        return (
            f"{_rate(self.after)} of its requests failed; before the switch {_rate(self.before)}. "
            f"Chance alone does that in {self._chance()} of all cases"
        )

    def of_errors(self) -> str:
        """The judgement on its errors in words, with what it would need to be another one."""
        verdict = self.verdict(Looks.last())
        if verdict is Verdict.UNSEEN:
            return "not judged, for no request came"
        needed = failures_for_proof(_share(self.before), self.after.requests)
        proof = f"{needed} failed would be a proof" if needed else "a proof needs more requests"
        if verdict is Verdict.WORSE:
            return f"more than before, and that is proven ({needed} failed are enough)"
        if verdict is Verdict.NO_WORSE:
            return f"none too many; {proof}"
        return f"more than before, not proven: chance alone does that in {self._chance()} of all cases; {proof}"

    def _chance(self) -> str:
        return f"{100 * chance(_share(self.before), _share(self.after)):.1f} %"

    def waits(self) -> str:
        """In words, that most of its requests, be they few, failed or had to wait for it; empty when that is not so."""
        bad = min(self.after.failed + self.held, self.after.requests)
        if not self.held or 2 * bad < self.after.requests:
            return ""
        return f"{bad} of its {self.after.requests} requests failed or had to wait until it took them"

    def slowness(self) -> str:
        """In words, how far it is slower; empty when it is not or that is not certain."""
        after, limit = self.after.p95_ms, self._slow_from_ms()
        if after is None or limit is None or after <= limit:
            return ""
        return f"95 % of its requests took up to {after:.0f} ms; before the switch {self.before.p95_ms:.0f} ms"

    def of_times(self) -> str:
        """The judgement on its times in words."""
        limit = self._slow_from_ms()
        if limit is None:
            return f"not compared, which takes {FEWEST_TO_COMPARE} requests on each side"
        return (
            f"too slow: the limit is {limit:.0f} ms"
            if self.slowness()
            else f"none too long; the limit is {limit:.0f} ms"
        )

    def _slow_from_ms(self) -> float | None:
        """The 95th percentile from which on it is slower; None where there is too little to compare."""
        before = self.before.p95_ms
        if before is None or self.after.p95_ms is None:
            return None
        if min(self.before.requests, self.after.requests) < FEWEST_TO_COMPARE:
            return None
        return max(before * _SLOWER, before + _SLOWER_MS)


def watch(run: PlanRun, vigil: Vigil) -> str:
    """Watch the target for the plan's `watch_s` seconds; gives the regression in words, or "" when there is none.

    More errors end it as soon as they are certain. Slowness is judged at the end: a process is slow at first. What is
    left in doubt becomes the run's `doubt`. Raises what `vigil` raises.
    """
    deployment, plan = run.deployment, run.plan
    if deployment.traffic is None or run.account is None or plan.outgoing is None:
        why = (deployment.blind or "the router is not running") if plan.outgoing else "no version came before"
        deployment.note(f"nothing to watch: {why}")
        return ""
    shortest, longest = _LOOK_BACK_S
    span_s = math.ceil(min(max(plan.watch_s, shortest), longest))
    before = deployment.traffic.conduct(plan.outgoing, span_s)
    began, waits, looks = deployment.clock(), _Waits(), Looks()
    while True:
        elapsed = deployment.clock() - began
        now = deployment.traffic.tallies()[plan.target]
        after = _since_the_switch(run.account, plan.target, now, elapsed)
        held = waits.since_the_first(now.held, deployment)
        evidence = Evidence(before, after, held, deployment.deploy.watch_max_errors / 100)
        deployment.report(Watching(plan.target, max(0.0, plan.watch_s - elapsed), before, after))
        if found := evidence.errors(looks.level(after.requests)):
            _tell(run, evidence)
            return found
        if deployment.traffic.failover() == plan.target:
            return f"it is down, and {plan.outgoing} stands in for it"
        vigil.look()
        if elapsed >= plan.watch_s:
            break
        deployment.sleep(min(_POLL_S, plan.watch_s - elapsed))
    vigil.confirm()
    _tell(run, evidence)
    found = evidence.errors(Looks.last(), is_last=True) or evidence.waits() or evidence.slowness()
    run.doubt = "" if found else evidence.doubt()
    return found


def _tell(run: PlanRun, evidence: Evidence) -> None:
    """Report what the watch came to, and keep it for the history."""
    before, after = evidence.before, evidence.after
    errors, times = evidence.of_errors(), evidence.of_times()
    run.deployment.report(Watched(run.plan.target, before, after, errors, times))
    run.watched = {"before": before._asdict(), "after": after._asdict(), "errors": errors, "times": times}


class _Waits:
    """Counts the requests that wait for the new version itself, and neither for the one before it nor in a pause."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._was_paused = False

    def since_the_first(self, held: int, deployment: Deployment) -> int:
        """How many there have been since the first call, when `held` have waited and go on."""
        if self._before is None:
            self._before = held + (deployment.traffic.held() if deployment.traffic is not None else 0)
        self._was_paused = self._was_paused or deployment.store.read().pause is not None
        return 0 if self._was_paused else max(0, held - self._before)


def _since_the_switch(account: SwitchAccount, name: str, now: Tally, elapsed_s: float) -> TrafficSample:
    """How a version did under this traffic, its tally being `now`.

    Requests are counted from the switch on exactly: the release before it under the same name may have
    failed a moment ago. Only the times are those of whole seconds.
    """
    before = account.before[name]
    seconds = min(max(1, math.floor(elapsed_s)), _LOOK_BACK_S[1])
    p95_ms = account.traffic.conduct(name, seconds).p95_ms
    return TrafficSample(max(0, now.ended - before.ended), max(0, now.failed - before.failed), p95_ms)


def _share(conduct: TrafficSample) -> Share:
    return Share(conduct.failed, conduct.requests)


def _rate(conduct: TrafficSample) -> str:
    if not conduct.requests:
        return "none were made"
    return f"{100 * conduct.failed / conduct.requests:.1f} % ({conduct.failed} of {conduct.requests})"
