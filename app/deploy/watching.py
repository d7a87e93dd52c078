"""Watching a new version under traffic: does it do worse than the one before it did?

The comparison needs evidence. Of three requests one bad one says nothing; of three thousand, thirty do.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from app.deploy.events import Watched, Watching
from app.deploy.receipt import Books, Conduct, Tally
from app.deploy.steps import Request, Steps
from app.deploy.vigil import Vigil

__all__ = ["Evidence", "watch"]

_POLL_S = 0.5

_LOOK_BACK_S: Final = (60, 600)
"""How much of the old version's time is compared: as long as the watch, within these bounds; the metrics keep
single seconds for ten minutes."""

_Z: Final = 2.58
"""Both error rates are taken at the nearer end of their 99 % interval."""

_FEWEST_FAILURES: Final = 5
"""Fewer may be chance, or one client's mistake repeated."""

_TOLERATED_RATE: Final = 0.01
"""A rate below this is no regression, were the old version without any error."""

_TOLERATED_BLINDLY: Final = 0.05
"""The same where the old version had too little traffic to compare with."""

_FEWEST_TO_COMPARE: Final = 50
"""Requests that a rate or a 95th percentile needs to be worth comparing."""

_SLOWER: Final = 2.0
_SLOWER_MS: Final = 50.0
"""Twice as slow, and by an amount that somebody notices."""


class Evidence(NamedTuple):
    """The old version before the switch and the new one after it."""

    before: Conduct
    after: Conduct
    held: int = 0
    """Requests that had to wait after the switch because the new version did not take them."""

    def errors(self) -> str:
        """In words, how far more requests fail; empty while they do not or that is not certain."""
        if self.after.failed < _FEWEST_FAILURES:
            return ""
        if self.before.requests >= _FEWEST_TO_COMPARE:
            limit = max(_interval(self.before)[1], _TOLERATED_RATE)
        else:
            limit = _TOLERATED_BLINDLY
        if _interval(self.after)[0] <= limit:
            return ""
        return f"{_rate(self.after)} of its requests failed; before the switch {_rate(self.before)}"

    def waits(self) -> str:
        """In words, that most of its requests, be they few, failed or had to wait for it; empty when that is not so."""
        bad = min(self.after.failed + self.held, self.after.requests)
        if not self.held or 2 * bad < self.after.requests:
            return ""
        return f"{bad} of its {self.after.requests} requests failed or had to wait until it took them"

    def slowness(self) -> str:
        """In words, how far it is slower; empty when it is not or that is not certain."""
        before, after = self.before.p95_ms, self.after.p95_ms
        enough = min(self.before.requests, self.after.requests) >= _FEWEST_TO_COMPARE
        if not enough or before is None or after is None:
            return ""
        if after <= max(before * _SLOWER, before + _SLOWER_MS):
            return ""
        return f"95 % of its requests took up to {after:.0f} ms; before the switch {before:.0f} ms"


def watch(steps: Steps, request: Request, vigil: Vigil) -> str:
    """Watch the target for `request.watch_s` seconds; gives the regression in words, or "" when there is none.

    More errors end it as soon as they are certain. Slowness is judged at the end: a process is slow at first.
    Raises what `vigil` raises.
    """
    if steps.traffic is None or steps.books is None or request.leaving is None:
        why = (steps.blind or "the router is not running") if request.leaving else "no version came before"
        steps.note(f"nothing to watch: {why}")
        return ""
    shortest, longest = _LOOK_BACK_S
    span_s = math.ceil(min(max(request.watch_s, shortest), longest))
    before = steps.traffic.conduct(request.leaving, span_s)
    began, waits = steps.clock(), _Waits()
    while True:
        elapsed = steps.clock() - began
        now = steps.traffic.tallies()[request.target]
        after = _since_the_switch(steps.books, request.target, now, elapsed)
        evidence = Evidence(before, after, waits.since_the_first(now.held, steps))
        steps.report(Watching(request.target, max(0.0, request.watch_s - elapsed), before, after))
        if found := evidence.errors():
            return found
        if steps.traffic.failover() == request.target:
            return f"it is down, and {request.leaving} stands in for it"
        vigil.look()
        if elapsed >= request.watch_s:
            break
        steps.sleep(min(_POLL_S, request.watch_s - elapsed))
    vigil.confirm()
    steps.report(Watched(request.target, before, after))
    return evidence.waits() or evidence.slowness()


class _Waits:
    """Counts the requests that wait for the new version itself, and neither for the one before it nor in a pause."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._was_paused = False

    def since_the_first(self, held: int, steps: Steps) -> int:
        """How many there have been since the first call, when `held` have waited and go on."""
        if self._before is None:
            self._before = held + (steps.traffic.held() if steps.traffic is not None else 0)
        self._was_paused = self._was_paused or steps.store.read().pause is not None
        return 0 if self._was_paused else max(0, held - self._before)


def _since_the_switch(books: Books, name: str, now: Tally, elapsed_s: float) -> Conduct:
    """How a version did under this traffic, its tally being `now`.

    Requests are counted from the switch on exactly: the release before it under the same name may have
    failed a moment ago. Only the times are those of whole seconds.
    """
    before = books.before[name]
    seconds = min(max(1, math.floor(elapsed_s)), _LOOK_BACK_S[1])
    p95_ms = books.traffic.conduct(name, seconds).p95_ms
    return Conduct(max(0, now.ended - before.ended), max(0, now.failed - before.failed), p95_ms)


def _interval(conduct: Conduct) -> tuple[float, float]:
    """Wilson's interval for the error rate: unlike the usual one it is right for few requests, too."""
    n = conduct.requests
    if n == 0:
        return 0.0, 1.0
    p, z2 = conduct.failed / n, _Z * _Z
    centre, spread = p + z2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return (centre - spread) / (1 + z2 / n), (centre + spread) / (1 + z2 / n)


def _rate(conduct: Conduct) -> str:
    if not conduct.requests:
        return "none were made"
    return f"{100 * conduct.failed / conduct.requests:.1f} % ({conduct.failed} of {conduct.requests})"
