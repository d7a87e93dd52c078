"""Carrying out one decided command: the lock, the intent, its phases, what a failure undoes, the outcome."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from app.deploy.actions import act
from app.deploy.events import LockAwaited, RolledBack
from app.deploy.history import ROLLED_BACK, History, Intent, OpenEntry
from app.deploy.phases import PHASES, Operation, Phase, Undo
from app.deploy.recovery import recover
from app.deploy.steps import Request, Steps
from app.errors import DrainTimedOut, OperatorError, StateError, StateMissing, UnhealthyVersion
from app.state.model import BlueGreenState, VersionState, promote
from app.state.store import Holder

__all__ = ["Decision", "Execution"]

Decision = Callable[[BlueGreenState], Request | None]
"""Gets the state under the lock; None when there is nothing to do. Raises `OperatorError` to refuse."""


class Execution:
    """Carries out commands on one deployment; `command` is the command line, for the lock and the history."""

    def __init__(self, steps: Steps, history: History, command: str, lock_wait_s: float) -> None:
        self._steps = steps
        self._history = history
        self._command = command
        self._lock_wait_s = lock_wait_s

    def carry_out(self, decide: Decision) -> None:
        """Take the lock, decide, write the intent down, work through the phases, write the outcome down.

        Raises what a phase raised, after undoing what the phase table says.
        """
        with ExitStack() as lock:
            stale = self.take_lock(lock)
            self._check_state_is_there()
            # First, because the record of a version tells of a command that was killed how far it came.
            recover(self._steps, self._history, stale)
            state = self._steps.settle()
            request = decide(state)
            if request is None:
                return
            entry = self._history.begin(self._intent(request, state))
            self._steps.store.writer = entry.id
            try:
                self._keep_record(request, state)
                self._work_through(request, entry, lock)
            except BaseException as error:
                self._break_off(request, entry, error, state, lock)
                raise
            finally:
                self._steps.store.writer = ""
            self.close(entry, "done", "", self._steps.close_books())

    def _keep_record(self, request: Request, state: BlueGreenState) -> None:
        """Write down what is going to be started before anything is done; raises `StateError` on a full disk."""
        if request.release is not None:
            named = [version.record for version in state.versions.values()]
            self._steps.releases.keep(request.release, named)

    def _check_state_is_there(self) -> None:
        """Raises `StateMissing` for a state file that is gone: the router goes on without one, not with a new one."""
        store = self._steps.store
        if os.path.lexists(store.path):
            return
        for entry in reversed(self._history.entries()):
            if entry.operation in set(Operation) and entry.has_switched and entry.goes_to:
                raise StateMissing(
                    f"the state file {store.path} is gone; {entry.goes_to} was active at last",
                    store.by_hand(entry.goes_to),
                )

    def _work_through(self, request: Request, entry: OpenEntry, lock: ExitStack) -> None:
        is_locked = True
        try:
            for phase in request.phases:
                if is_locked and not PHASES[phase].locked:
                    lock.close()
                    is_locked = False
                elif PHASES[phase].locked and not is_locked:
                    self.take_lock(lock)
                    is_locked = True
                entry.enter(phase)
                act(self._steps, phase, request)
        finally:
            if request.operation is not Operation.PAUSE:
                self._steps.let_go()

    def _break_off(
        self, request: Request, entry: OpenEntry, error: BaseException, before: BlueGreenState, lock: ExitStack
    ) -> None:
        phase, outcome, facts = entry.phase, _outcome(error), dict[str, object]()
        undo = PHASES[phase].undo if phase is not None else Undo.NOTHING
        try:
            if undo is Undo.STOP_TARGET and request.launches:
                self._undo_start(request, before.version(request.target))
            elif undo is Undo.ROLL_BACK and self._roll_back(
                request, before, lock, PHASES[phase or Phase.POSTING].locked
            ):
                outcome = ROLLED_BACK
            elif request.operation is Operation.PAUSE and phase is Phase.DRAINING:
                self.take_lock(lock)
                self._steps.let_go()
            facts = self._steps.close_books()
        finally:
            stands = PHASES[phase].left_behind if phase and not isinstance(error, OperatorError) else ""
            self.close(entry, outcome, str(error) or stands, facts)

    def _undo_start(self, request: Request, before: VersionState) -> None:
        state = self._steps.settle()
        version = state.version(request.target)
        if self._steps.is_alive(version):
            if state.active_version == request.target:
                # Traffic goes to it in any case, and a version that is half well serves more than none.
                self._steps.note(f"{request.target} is the active version, so it was left running", warns=True)
                return
            self._steps.stop(version)
        self._steps.take_back(before)

    def _roll_back(self, request: Request, before: BlueGreenState, lock: ExitStack, is_locked: bool) -> bool:
        """Give the traffic back to the version that had it before; gives whether that was done."""
        if not is_locked:
            self.take_lock(lock)
        state = self._steps.settle()
        if state.active_version != request.target or request.leaving is None:
            self._steps.note(
                f"traffic was left with {state.active_version}: there is nothing to go back to", warns=True
            )
            return False
        if not self._steps.runs(state.version(request.leaving)):
            self._steps.note(f"{request.leaving} does not run any more, so {request.target} stays active", warns=True)
            return False
        back = promote(state, request.leaving, self._steps.now())
        # Not the version that has just failed, whatever it ran before: a `rollback` must not lead to it.
        previous = None if before.previous_version == request.target else before.previous_version
        self._steps.store.write(replace(back, previous_version=previous))
        version = state.version(request.leaving)
        self._steps.report(RolledBack(version.name, version.port, request.target))
        return True

    def take_lock(self, lock: ExitStack) -> Holder | None:
        """Hold the deployment's lock until `lock` is closed; gives a holder that died with it.

        Raises `LockBusy` when another command keeps it.
        """

        def tell(holder: Holder | None) -> None:
            self._steps.report(LockAwaited(str(holder or "another command"), self._lock_wait_s))

        return lock.enter_context(self._steps.store.lock(self._command, self._lock_wait_s, tell))

    def _intent(self, request: Request, state: BlueGreenState) -> Intent:
        goes_to = request.target if Phase.PROMOTING in request.phases else state.active_version
        return Intent(
            request.operation,
            self._command,
            request.target,
            state.active_version,
            goes_to,
            request.described.release,
            request.phases,
            runs=request.described.started_with,
            replaces=state.version(request.target).started_with,
        )

    def close(self, entry: OpenEntry, outcome: str, detail: str, facts: Mapping[str, object] | None = None) -> None:
        """Write down how a command ended."""
        try:
            entry.close(outcome, detail, **(facts or {}))
        except StateError as error:
            # What was done is done; a history that cannot be written must not make it look failed.
            self._steps.note(str(error), warns=True)


_OUTCOMES: Final[Mapping[type[BaseException], str]] = {
    UnhealthyVersion: "unhealthy",
    DrainTimedOut: "drain timed out",
    KeyboardInterrupt: "interrupted",
}


def _outcome(error: BaseException) -> str:
    return _OUTCOMES.get(type(error), "failed")
