"""The health gate: a version gets traffic only after so many healthy answers in a row."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from app.config import AppConfig
from app.deploy.events import Probed, Reporter, TimedProbe
from app.upstream.probe import ProbeResult, probe

__all__ = ["Gate", "Prober", "Verdict"]

Prober = Callable[[int, AppConfig], ProbeResult]

_PAUSE_S = 0.2
"""Between probes of a version that is starting: short beside a start, long beside a health check."""

_KEPT_PROBES = 5
"""As many as a person reads to see why a version is not well."""


class Verdict(NamedTuple):
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

    def wait(self, version: str, port: int, is_alive: Callable[[], bool]) -> Verdict:
        """Probe a version that is starting until it is healthy, has died, or `start_timeout` is over."""
        began, probes, streak = self.clock(), deque[TimedProbe](maxlen=_KEPT_PROBES), 0
        while True:
            # Looked at before the probe: a stranger on the port must not pass for a version that has died.
            alive = is_alive()
            last = self._probe(port, began)
            probes.append(last)
            streak = streak + 1 if last.result.ok else 0
            self.report(Probed(version, port, last, streak, self.app.healthy_after))
            if not alive:
                return Verdict("it has ended", tuple(probes))
            if streak >= self.app.healthy_after:
                return Verdict("", tuple(probes))
            if self.clock() - began >= self.app.start_timeout:
                return Verdict(f"not healthy within {self.app.start_timeout:g} s", tuple(probes))
            self.sleep(_PAUSE_S)

    def confirm(self, version: str, port: int) -> Verdict:
        """Probe a version that should be healthy; the first bad answer decides."""
        began, probes = self.clock(), deque[TimedProbe](maxlen=_KEPT_PROBES)
        for streak in range(1, self.app.healthy_after + 1):
            last = self._probe(port, began)
            probes.append(last)
            ok = last.result.ok
            self.report(Probed(version, port, last, streak if ok else 0, self.app.healthy_after))
            if not ok:
                return Verdict(last.result.reason, tuple(probes))
        return Verdict("", tuple(probes))

    def _probe(self, port: int, began: float) -> TimedProbe:
        result = self.probe(port, self.app)
        return TimedProbe(self.clock() - began, result)
