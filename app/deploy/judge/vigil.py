"""Keeping an eye on a version that has just become active, for as long as the command that made it so is at work.

It may end, fail its health checks, or lose the traffic to another command. None of that needs traffic to be seen.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from app.command_line import PROGRAM
from app.deploy.events import Diagnosed, TimedProbe
from app.deploy.plan_run import PlanRun
from app.deploy.processes.log_file import tail
from app.deploy.processes.reconcile import ending_text
from app.operator_errors import TrafficTaken, UnhealthyVersion

__all__ = ["Vigil"]

_LOOK_S: Final = 0.5
"""Between two looks at the process, the state and the health."""

_FAILURES: Final = 3
"""Failed health checks in a row that are no accident: a worker that is being replaced, a moment of load."""

_LOG_LINES: Final = 20


class Vigil:
    """Looks after the target of one plan; with `force` only at who has the traffic, for its health was known."""

    def __init__(self, run: PlanRun) -> None:
        deployment, plan = run.deployment, run.plan
        self._run = run
        self._deployment = deployment
        self._name = plan.target
        self._looks_at_health = not plan.force
        version = deployment.store.read().version(plan.target)
        # Who runs a version in the foreground may start it again, and one of others has no process that we know.
        found = deployment.processes.find(version)
        self._is_ours = plan.launches or (found.alive and not found.in_foreground)
        self._restarts = 0 if found.restarts is None else found.restarts.times
        self._began = deployment.clock()
        self._next_look = self._began
        self._probes = deque[TimedProbe](maxlen=_FAILURES)

    def look(self) -> None:
        """Look, if it is time to; raises `TrafficTaken` or `UnhealthyVersion`."""
        if self._deployment.clock() >= self._next_look:
            self._look()
            self._next_look = self._deployment.clock() + _LOOK_S

    def confirm(self) -> None:
        """The end of the watch: what is not well now is asked until that is certain; raises as `look` does."""
        self._look()
        while self._probes and not self._probes[-1].result.ok:
            self._deployment.sleep(_LOOK_S)
            self._look()

    def _look(self) -> None:
        state = self._deployment.store.read()
        if state.active_version != self._name:
            raise TrafficTaken(self._name, state.active_version)
        if not self._looks_at_health:
            return
        version = state.version(self._name)
        found = self._deployment.processes.find(version)
        if self._is_ours and not found.alive:
            self._fail(f"has ended ({ending_text(found.exit_status)})")
        if found.restarts is not None and found.restarts.times > self._restarts:
            self._fail(f"had to be started again ({ending_text(found.restarts.last_exit_status)})")
        gate, app = self._deployment.gate, self._deployment.app
        results = [gate.probe(address, app) for address in self._deployment.addresses(version)]
        result = next((one for one in results if not one.ok), results[0])
        self._probes.append(TimedProbe(self._deployment.clock() - self._began, result))
        if len(self._probes) == _FAILURES and not any(one.result.ok for one in self._probes):
            self._fail(f"is not healthy any more: {result.reason}")

    def _fail(self, what: str) -> None:
        log = self._deployment.processes.log_path(self._name)
        bad = [probe for probe in self._probes if not probe.result.ok]
        lines = tail(log, _LOG_LINES, self._run.log_begins.get(self._name, 0))
        self._deployment.report(Diagnosed(self._name, tuple(bad), log, tuple(lines)))
        raise UnhealthyVersion(f"{self._name} {what}", f"{PROGRAM} logs {self._name}")
