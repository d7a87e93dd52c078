"""Carrying out one decided command: the lock, the intent, its phases, what a failure undoes, the outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final

from app.deploy.events import Found, LockAwaited, Noted
from app.deploy.history import Entry, History, Intent, OpenEntry
from app.deploy.phases import PHASES, Phase, Undo
from app.deploy.processes import start_time
from app.deploy.steps import Request, Steps
from app.errors import DrainTimedOut, OperatorError, StateError, UnhealthyVersion
from app.state.model import BlueGreenState, VersionState
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
            state = self._steps.settle()
            self._report_killed_commands(stale)
            request = decide(state)
            if request is None:
                return
            entry = self._history.begin(self._intent(request, state))
            try:
                self._work_through(request, entry, lock)
            except BaseException as error:
                self._break_off(request, entry, error, state.version(request.target))
                raise
            self.close(entry, "done", "")

    def _work_through(self, request: Request, entry: OpenEntry, lock: ExitStack) -> None:
        is_locked = True
        for phase in request.phases:
            if is_locked and not PHASES[phase].locked:
                lock.close()
                is_locked = False
            elif PHASES[phase].locked and not is_locked:
                self.take_lock(lock)
                is_locked = True
            entry.enter(phase)
            self._steps.run(phase, request)

    def _break_off(self, request: Request, entry: OpenEntry, error: BaseException, before: VersionState) -> None:
        phase = entry.phase
        try:
            if phase is not None and PHASES[phase].undo is Undo.STOP_TARGET and request.launches:
                self._undo_start(request, before)
        finally:
            stands = PHASES[phase].left_behind if phase and not isinstance(error, OperatorError) else ""
            self.close(entry, _outcome(error), str(error) or stands)

    def _undo_start(self, request: Request, before: VersionState) -> None:
        state = self._steps.settle()
        version = state.version(request.target)
        if self._steps.is_alive(version):
            if state.active_version == request.target:
                # Traffic goes to it in any case, and a version that is half well serves more than none.
                self._note(f"{request.target} is the active version, so it was left running", warns=True)
                return
            self._steps.stop(version)
        self._steps.take_back(before)

    def take_lock(self, lock: ExitStack) -> Holder | None:
        """Hold the deployment's lock until `lock` is closed; gives a holder that died with it.

        Raises `LockBusy` when another command keeps it.
        """

        def tell(holder: Holder | None) -> None:
            self._steps.report(LockAwaited(str(holder or "another command"), self._lock_wait_s))

        return lock.enter_context(self._steps.store.lock(self._command, self._lock_wait_s, tell))

    def _report_killed_commands(self, stale: Holder | None) -> None:
        """Say what commands that were killed leave behind, and close their entries."""
        told = set()
        for entry in self._history.unfinished():
            if _is_at_work(entry):
                continue
            phase = Phase(entry.phase) if entry.phase in set(Phase) else None
            stands = PHASES[phase].left_behind if phase else "it had not begun"
            self._steps.report(Found(entry.command, entry.pid, entry.phase or "", stands))
            self._history.append({"id": entry.id, "outcome": "killed", "detail": stands})
            told.add(entry.pid)
        if stale is not None and stale.pid not in told:
            self._note(f"took over the lock of {stale}, which was killed before it changed anything", warns=True)

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
        )

    def close(self, entry: OpenEntry, outcome: str, detail: str) -> None:
        """Write down how a command ended."""
        try:
            entry.close(outcome, detail)
        except StateError as error:
            # What was done is done; a history that cannot be written must not make it look failed.
            self._note(str(error), warns=True)

    def _note(self, text: str, *, warns: bool = False) -> None:
        self._steps.report(Noted(text, warns))


_OUTCOMES: Final[Mapping[type[BaseException], str]] = {
    UnhealthyVersion: "unhealthy",
    DrainTimedOut: "drain timed out",
    KeyboardInterrupt: "interrupted",
}


def _outcome(error: BaseException) -> str:
    return _OUTCOMES.get(type(error), "failed")


def _is_at_work(entry: Entry) -> bool:
    """Whether the command's process lives: draining, or running a version, goes on without the lock."""
    started = start_time(entry.pid)
    return started is not None and started <= entry.at + 1.0
