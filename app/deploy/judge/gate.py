"""The health gate: a version gets traffic only after so many healthy answers in a row."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from app.address import Address
from app.deploy.events import Noted, Probed, Reporter, TimedProbe
from app.settings.tables.app_settings import AppConfig
from app.upstream.probe import ProbeResult, probe

__all__ = ["Gate", "Prober", "GateVerdict"]

Prober = Callable[[Address, AppConfig], ProbeResult]

_PAUSE_S = 0.2
"""Between probes of a version that is starting: short beside a start, long beside a health check."""

_SAME_ANSWERS = 3
"""So many of a kind in a row are no accident of the start; what they mean is then said at once, not after the wait."""

_KEPT_PROBES = 5
"""As many as a person reads to see why a version is not well."""


class GateVerdict(NamedTuple):
    """How the gate ended. `reason` is empty when the version is healthy; `probes` are the last ones."""

    reason: str
    probes: tuple[TimedProbe, ...]


@dataclass(eq=False, repr=False)
class Gate:
    """Probes versions as `app` says; `clock` is monotonic."""

    app: AppConfig
    report: Reporter
    probe: Prober = probe
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def wait(self, version: str, address: Address, is_alive: Callable[[], bool]) -> GateVerdict:
        """Probe a version that is starting until it is healthy, has died, or `start_timeout` is over.

        An answer that no wait will change is explained as soon as it has come three times. The wait goes on: an
        application may still be putting its routes together.
        """
        began, probes, streak = self.clock(), deque[TimedProbe](maxlen=_KEPT_PROBES), 0
        same, meant = 0, ""
        while True:
            # Looked at before the probe: a stranger on the port must not pass for a version that has died.
            alive = is_alive()
            last = self._probe(address, began)
            probes.append(last)
            streak = streak + 1 if last.result.ok else 0
            self.report(Probed(version, address, last, streak, self.app.healthy_after))
            is_same = len(probes) > 1 and last.result.status == probes[-2].result.status
            same = same + 1 if is_same and not last.result.ok else 1
            if same == _SAME_ANSWERS and (meant := self._meaning(address, last.result)):
                self.report(Noted(f"{version} answers {last.result.status}: {meant}", warns=True))
            if not alive:
                return GateVerdict("it has ended", tuple(probes))
            if streak >= self.app.healthy_after:
                return GateVerdict("", tuple(probes))
            if self.clock() - began >= self.app.start_timeout:
                why = last.result.reason or f"only {streak} of {self.app.healthy_after} healthy answers in a row"
                why = f"{why}, {self.app.start_timeout:g} s after its start"
                return GateVerdict(f"{why}; {meant}" if meant and same >= _SAME_ANSWERS else why, tuple(probes))
            self.sleep(_PAUSE_S)

    def confirm(self, version: str, address: Address) -> GateVerdict:
        """Probe a version, or one of its backends, that should be healthy; the first bad answer decides."""
        began, probes = self.clock(), deque[TimedProbe](maxlen=_KEPT_PROBES)
        for streak in range(1, self.app.healthy_after + 1):
            last = self._probe(address, began)
            probes.append(last)
            ok = last.result.ok
            self.report(Probed(version, address, last, streak if ok else 0, self.app.healthy_after))
            if not ok:
                return GateVerdict(last.result.reason, tuple(probes))
        return GateVerdict("", tuple(probes))

    def _meaning(self, address: Address, result: ProbeResult) -> str:
        if result.status is None:
            return ""
        # Imported when a version does not come up: most do.
        from app.deploy.judge.health_answers import meaning

        return meaning(self.app, address, result.status, result.leads_to)

    def _probe(self, address: Address, began: float) -> TimedProbe:
        result = self.probe(address, self.app)
        return TimedProbe(self.clock() - began, result)
