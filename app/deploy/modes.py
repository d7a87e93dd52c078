"""The commands that move no traffic between versions: pause, resume, maintenance, preview."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.phases import Operation, phases_of
from app.deploy.plan import Plan
from app.deploy.record.history import History
from app.deploy.run.execution import Execution
from app.operator_errors import OperatorError
from app.state.model import (
    VERSIONS,
    BlueGreenState,
    Maintenance,
    Pause,
    check_version,
    with_maintenance,
    with_pause,
    with_preview_key,
    without_maintenance,
    without_pause,
)
from app.state.preview_token import sign

__all__ = ["Modes"]


class Modes:
    """Carries out these commands on one deployment; `command` is the command line, for the lock and the history."""

    def __init__(self, deployment: Deployment, history: History, command: str, lock_wait_s: float) -> None:
        self._deployment = deployment
        self._execution = Execution(deployment, history, command, lock_wait_s)

    def pause(self, max_hold_s: float, *, drain: bool = False) -> Pause:
        """Let new requests wait, at most `max_hold_s` seconds; with `drain`, return when nothing is in flight.

        Raises `DrainTimedOut` when that does not come in time; the pause is lifted again then.
        """

        def change(state: BlueGreenState) -> BlueGreenState:
            return with_pause(state, self._deployment.now(), max_hold_s)

        def decide(state: BlueGreenState) -> Plan:
            plan = self._plan(state, Operation.PAUSE, change, drain)
            return plan._replace(drain_timeout_s=min(self._deployment.drain_timeout_s, max_hold_s))

        self._execution.carry_out(decide)
        pause = self._deployment.store.read().pause
        if pause is None:
            raise OperatorError("another command has resumed in the meantime", f"{PROGRAM} status")
        return pause

    def resume(self) -> float | None:
        """Let requests through again; gives how long they were held, in seconds, or None when none were."""
        held: list[float] = []

        def decide(state: BlueGreenState) -> Plan | None:
            if state.pause is None:
                return None
            held.append(self._deployment.now() - state.pause.since)
            return self._plan(state, Operation.RESUME, without_pause)

        self._execution.carry_out(decide)
        return held[0] if held else None

    def start_maintenance(
        self,
        message: str | None = None,
        retry_after_s: int | None = None,
        allow: tuple[str, ...] | None = None,
        until: float | None = None,
    ) -> Maintenance:
        """Answer clients with the maintenance page; given again, it changes what is given now and keeps the rest."""
        given = {"message": message, "retry_after_s": retry_after_s, "allow": allow, "until": until}

        def change(state: BlueGreenState) -> BlueGreenState:
            now = self._deployment.now()
            on = state.maintenance_at(now) or Maintenance(now)
            changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
            return with_maintenance(state, on._replace(**changes))

        self._execution.carry_out(lambda state: self._plan(state, Operation.MAINTENANCE, change))
        maintenance = self._deployment.store.read().maintenance
        if maintenance is None:
            raise OperatorError("another command has ended it in the meantime", f"{PROGRAM} status")
        return maintenance

    def end_maintenance(self) -> bool:
        """Answer clients as usual again; gives whether there was any maintenance to end."""
        was_on: list[bool] = []

        def decide(state: BlueGreenState) -> Plan | None:
            was_on.append(state.maintenance is not None)
            return self._plan(state, Operation.MAINTENANCE, without_maintenance) if was_on[0] else None

        self._execution.carry_out(decide)
        return was_on[0]

    def preview(self, name: str | None, lasts_s: float) -> tuple[str, str]:
        """A token that shows a version, the standby unless named, for `lasts_s` seconds: (version, token).

        The secret that signs it is made when there is none yet.
        """
        state = self._deployment.store.read()
        version = check_version(name or state.standby_version)
        if not state.preview_key:
            key = secrets.token_urlsafe(32)

            def decide(now: BlueGreenState) -> Plan | None:
                if now.preview_key:
                    return None
                return self._plan(now, Operation.PREVIEW, lambda it: with_preview_key(it, key))

            self._execution.carry_out(decide)
            state = self._deployment.store.read()
        return version, sign(state.preview_key, version, self._deployment.now() + lasts_s)

    def _plan(
        self,
        state: BlueGreenState,
        operation: Operation,
        change: Callable[[BlueGreenState], BlueGreenState],
        drains: bool = False,
    ) -> Plan:
        name = state.active_version or VERSIONS[0]
        phases = phases_of(operation, target_runs=True, drains=drains)
        return Plan(operation, name, phases, state.version(name), change=change)
