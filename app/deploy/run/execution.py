"""Carrying out one decided command: the lock, the intent, its phases, what a failure undoes, the outcome."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Final

from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.events import LockAwaited, RolledBack
from app.deploy.phases import PHASES, Operation, Phase, Undo
from app.deploy.plan import Plan
from app.deploy.plan_run import PlanRun
from app.deploy.record.history import AFTER_THE_SWITCH, DOUBTFUL, ROLLED_BACK, History, Intent, OpenEntry
from app.deploy.run.actions import act
from app.deploy.run.interruption import held_back, let_through
from app.deploy.run.recovery import recover
from app.operator_errors import (
    Doubtful,
    DrainTimedOut,
    OperatorError,
    StateError,
    StateMissing,
    SwitchStands,
    TrafficTaken,
    UnhealthyVersion,
)
from app.state.model import BlueGreenState, VersionState, promote
from app.state.store import Holder, repair_command

__all__ = ["Decision", "Execution"]

Decision = Callable[[BlueGreenState], Plan | None]
"""Gets the state under the lock; None when there is nothing to do. Raises `OperatorError` to refuse."""


class Execution:
    """Carries out commands on one deployment; `command` is the command line, for the lock and the history."""

    def __init__(self, deployment: Deployment, history: History, command: str, lock_wait_s: float) -> None:
        self._deployment = deployment
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
            recover(self._deployment, self._history, stale)
            state = self._deployment.settle()
            if self._deployment.release.current:
                from app.deploy.release.current_link import with_link

                decide = with_link(self._deployment, decide)
            plan = decide(state)
            if plan is None:
                return
            with held_back():
                self._record(PlanRun(self._deployment, plan), state, lock)

    def _record(self, run: PlanRun, state: BlueGreenState, lock: ExitStack) -> None:
        """Write the intent down, work through the phases, write the outcome down."""
        plan = run.plan
        entry = self._history.begin(self._intent(plan, state))
        self._deployment.store.writer = entry.id
        try:
            self._keep_record(plan, state)
            self._work_through(run, entry, lock)
        except TrafficTaken as error:
            known = TrafficTaken(error.version, error.active, self._taker(entry, error))
            self._break_off(run, entry, known, state, lock)
            raise known from None
        except BaseException as error:
            outcome = self._break_off(run, entry, error, state, lock)
            if isinstance(error, UnhealthyVersion) and entry.phase in AFTER_THE_SWITCH and outcome != ROLLED_BACK:
                raise self._stands(plan, error) from error
            raise
        finally:
            self._deployment.store.writer = ""
        doubt = run.doubt
        self.close(entry, DOUBTFUL if doubt else "done", doubt, run.close_account())
        if doubt:
            raise Doubtful(f"{plan.target} is active, but doubtful: {doubt}", self._way_back(plan))

    def _taker(self, ours: OpenEntry, error: TrafficTaken) -> str:
        """The latest command that gave the traffic to the version that has it now."""
        for entry in reversed(self._history.entries()):
            if entry.id != ours.id and entry.goes_to == error.active and entry.came_from != entry.goes_to:
                return f"`{entry.command}` (pid {entry.pid}, {entry.who})"
        return "somebody"

    def _stands(self, plan: Plan, error: UnhealthyVersion) -> SwitchStands:
        """What is said when the new version has failed and the traffic stays with it."""
        hint = self._way_back(plan) or error.hint
        return SwitchStands(f"{error}; {plan.target} is the active version still", hint)

    def _way_back(self, plan: Plan) -> str:
        """The command that gives the traffic back; empty when no version had it before."""
        if plan.outgoing is None:
            return ""
        runs = self._deployment.runs(self._deployment.store.read().version(plan.outgoing))
        return f"{PROGRAM} rollback" + f"   # {plan.outgoing} still runs" * runs

    def _keep_record(self, plan: Plan, state: BlueGreenState) -> None:
        """Write down what is going to be started before anything is done; raises `StateError` on a full disk."""
        if plan.release is not None:
            named = [version.record for version in state.versions.values()]
            self._deployment.releases.keep(plan.release, named)

    def _check_state_is_there(self) -> None:
        """Raises `StateMissing` for a state file that is gone: the router goes on without one, not with a new one."""
        store = self._deployment.store
        if os.path.lexists(store.path):
            return
        for entry in reversed(self._history.entries()):
            if entry.operation in set(Operation) and entry.has_switched and entry.goes_to:
                raise StateMissing(
                    f"the state file {store.path} is gone; {entry.goes_to} was active at last",
                    repair_command(),
                )
        if store.last_good() is not None:
            raise StateMissing(
                f"the state file {store.path} is gone, and the last good state is kept beside it", repair_command()
            )

    def _work_through(self, run: PlanRun, entry: OpenEntry, lock: ExitStack) -> None:
        is_locked = True
        try:
            for phase in run.plan.phases:
                if is_locked and not PHASES[phase].locked:
                    lock.close()
                    is_locked = False
                elif PHASES[phase].locked and not is_locked:
                    with let_through():
                        self.take_lock(lock)
                    is_locked = True
                self._enter(phase, entry)
                with nullcontext() if phase in _AT_ONCE else let_through():
                    act(run, phase)
        finally:
            if run.plan.operation is not Operation.PAUSE:
                run.lift_own_pause()

    def _enter(self, phase: Phase, entry: OpenEntry) -> None:
        try:
            entry.enter(phase)
        except StateError as error:
            if phase not in AFTER_THE_SWITCH:
                raise
            # The traffic has moved already; who is killed now is taken for one that was killed right after that.
            self._deployment.note(str(error), warns=True)

    def _break_off(
        self, run: PlanRun, entry: OpenEntry, error: BaseException, before: BlueGreenState, lock: ExitStack
    ) -> str:
        """Undo what the phase table says, and write down what came of it; whatever of that fails, the rest is done.

        Gives the outcome.
        """
        phase, outcome, facts = entry.phase, _outcome(error), dict[str, object]()
        told = str(error) or (PHASES[phase].left_behind if phase else "")
        try:
            if not isinstance(error, TrafficTaken) and self._undo(run, phase, error, before, lock):
                outcome = ROLLED_BACK
                told = str(error) or f"interrupted while {phase}"
            facts = run.close_account()
        except (OperatorError, OSError) as fault:
            told += f"; not all could be undone: {fault}"
            self._deployment.note(f"not all could be undone: {fault}", warns=True)
        finally:
            self.close(entry, outcome, told, facts)
        return outcome

    def _undo(
        self, run: PlanRun, phase: Phase | None, error: BaseException, before: BlueGreenState, lock: ExitStack
    ) -> bool:
        """Undo what the phase table says; gives whether the traffic has gone back."""
        rule, plan = PHASES[phase] if phase is not None else None, run.plan
        if rule is None:
            return False
        if rule.undo is Undo.PUT_BACK or (phase is Phase.DRAINING and plan.turns):
            self._put_back(run, lock, rule.locked)
        elif rule.undo is Undo.TAKE_BACK or (phase is Phase.PROMOTING and plan.canary is not None):
            return self._take_back(plan, before, lock, rule.locked)
        elif rule.undo is Undo.STOP_TARGET and plan.launches:
            self._undo_start(plan, before.version(plan.target))
        elif rule.undo is Undo.ROLL_BACK or (
            rule.undo is Undo.ROLL_BACK_IF_WATCHED and plan.watch_s and isinstance(error, UnhealthyVersion)
        ):
            return self._roll_back(plan, before, lock, rule.locked)
        elif plan.operation is Operation.PAUSE and phase is Phase.DRAINING:
            self.take_lock(lock)
            run.lift_own_pause()
        return False

    def _put_back(self, run: PlanRun, lock: ExitStack, is_locked: bool) -> None:
        """Give the processes of this turn requests again, unless an operator is to do so."""
        if run.plan.operation is Operation.DRAIN:
            return
        from app.deploy.run.turns import put_back

        if not is_locked:
            self.take_lock(lock)
        put_back(self._deployment, run.plan.target, run.turn)

    def _take_back(self, plan: Plan, before: BlueGreenState, lock: ExitStack, is_locked: bool) -> bool:
        """Give the requests of a canary back to the version that is active; gives whether that was done."""
        from app.deploy.conduct.share import take_back

        if not is_locked:
            self.take_lock(lock)
        if self._deployment.store.read_or_new().active_version == plan.target:
            return False
        take_back(self._deployment, plan.target)
        if plan.launches:
            self._undo_start(plan, before.version(plan.target))
        return True

    def _undo_start(self, plan: Plan, before: VersionState) -> None:
        try:
            state = self._deployment.settle()
        except StateError:  # a full disk: what was started must not stay for that
            state = self._deployment.observed(self._deployment.store.read_or_new(), is_settled=True)
        version = state.version(plan.target)
        if self._deployment.is_alive(version):
            if state.active_version == plan.target:
                # Traffic goes to it in any case, and a version that is half well serves more than none.
                self._deployment.note(f"{plan.target} is the active version, so it was left running", warns=True)
                return
            try:
                self._deployment.stop(version)
            except StateError:  # the next command finds the process gone and corrects the state
                self._deployment.end(version)
                raise
        self._deployment.restore_spec(before)

    def _roll_back(self, plan: Plan, before: BlueGreenState, lock: ExitStack, is_locked: bool) -> bool:
        """Give the traffic back to the version that had it before; gives whether that was done."""
        if not is_locked:
            self.take_lock(lock)
        state = self._deployment.settle()
        if state.active_version != plan.target or plan.outgoing is None:
            self._deployment.note(
                f"traffic was left with {state.active_version}: there is nothing to go back to", warns=True
            )
            return False
        if not self._deployment.runs(state.version(plan.outgoing)):
            self._deployment.note(f"{plan.outgoing} does not run any more, so {plan.target} stays active", warns=True)
            return False
        if self._deployment.deploy.rollback:
            self._revert(state.version(plan.target), state.version(plan.outgoing))
        back = promote(state, plan.outgoing, self._deployment.now(), gives_up=True)
        # Not the version that has just failed, whatever it ran before: a `rollback` must not lead to it.
        previous = None if before.previous_version == plan.target else before.previous_version
        self._deployment.store.write(replace(back, previous_version=previous))
        if self._deployment.release.current:
            from app.deploy.release.current_link import settle

            settle(self._deployment, back)
        version = state.version(plan.outgoing)
        runs = self._deployment.runs(state.version(plan.target))
        place, has_router = self._deployment.place(version), self._deployment.has_router
        self._deployment.report(RolledBack(version.name, place, plan.target, runs, has_router))
        return True

    def _revert(self, left: VersionState, returned: VersionState) -> None:
        """Run the rollback commands; whatever comes of them, traffic goes back."""
        from app.deploy.run.hooks import revert

        try:
            with let_through():
                failure = revert(self._deployment, left, returned)
        except KeyboardInterrupt:
            failure = "interrupted"
        if failure:
            self._deployment.note(f"a rollback command failed: {failure}; going back all the same", warns=True)

    def take_lock(self, lock: ExitStack) -> Holder | None:
        """Hold the deployment's lock until `lock` is closed; gives a holder that died with it.

        Raises `LockBusy` when another command keeps it.
        """

        def tell(holder: Holder | None) -> None:
            self._deployment.report(LockAwaited(str(holder or "another command"), self._lock_wait_s))

        return lock.enter_context(self._deployment.store.lock(self._command, self._lock_wait_s, tell))

    def _intent(self, plan: Plan, state: BlueGreenState) -> Intent:
        goes_to = plan.target if Phase.PROMOTING in plan.phases else state.active_version
        return Intent(
            plan.operation,
            self._command,
            plan.target,
            state.active_version,
            goes_to,
            plan.spec.release,
            plan.phases,
            runs=plan.spec.started_with,
            replaces=state.version(plan.target).started_with,
        )

    def close(self, entry: OpenEntry, outcome: str, detail: str, facts: Mapping[str, object] | None = None) -> None:
        """Write down how a command ended."""
        try:
            entry.close(outcome, detail, **(facts or {}))
        except StateError as error:
            # What was done is done; a history that cannot be written must not make it look failed.
            self._deployment.note(str(error), warns=True)


_AT_ONCE: Final = frozenset({Phase.PROMOTING, Phase.LINKING, Phase.WRITE_STATE})
"""An interruption comes before these or after them: whoever wrote the state knows that it did."""

_OUTCOMES: Final[Mapping[type[BaseException], str]] = {
    UnhealthyVersion: "unhealthy",
    DrainTimedOut: "drain timed out",
    TrafficTaken: "superseded",
    KeyboardInterrupt: "interrupted",
}


def _outcome(error: BaseException) -> str:
    return _OUTCOMES.get(type(error), "failed")
