"""The deploy commands: each decides under the lock what is to be done, writes that down, and then does it.

A decision is a value (`Plan`); the phases in it are carried out one after the other. When one fails, or
Ctrl-C comes, the phase table says what is undone, and the history gets the outcome. The state file holds
the old state or the new one at every moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.drain import OnTimeout
from app.deploy.phases import Configured, Operation, Phase, check_order, phases_of
from app.deploy.plan import Plan, in_turns
from app.deploy.processes.reconcile import ending_text
from app.deploy.record.history import History
from app.deploy.run.execution import Execution
from app.operator_errors import OperatorError, ProcessError, StateError
from app.state.given_up import given_up
from app.state.instances import count_of
from app.state.model import BlueGreenState, VersionState, check_version, started_with

if TYPE_CHECKING:
    from app.deploy.canary_plan import CanaryPlan
    from app.state.release import Release

__all__ = ["Deployer", "Overrides"]

# What a plain switch or rollback does without is imported where it is needed: those two are to be there at once.

LOCK_WAIT_S = 30.0
"""Longer than most starts take, so that two commands given at once both succeed, one after the other."""


class Overrides(NamedTuple):
    """What a start or deploy says about the version itself; None leaves it as it is."""

    release: str | None = None
    dir: str | None = None
    command: str | None = None
    demo: bool = False
    """The bundled demo, whatever is set."""

    def __bool__(self) -> bool:
        return self != Overrides()

    def of_something_new(self, version: VersionState) -> VersionState:
        """The version with just this: what an earlier release was started with does not hold for a new one."""
        return started_with(version, {"release": self.release, "dir": self.dir, "command": self.command})


def _switch_to_standby(state: BlueGreenState, now: float) -> str:
    """The command line, with a warning where the release there was rolled back."""
    warning = given_up(state.version(state.standby_version), now)
    return f"{PROGRAM} switch {state.standby_version}" + (f"   # {warning}" if warning else "")


class Deployer:
    """Carries out commands on one deployment; `command` is the command line, for the lock and the history."""

    def __init__(
        self, deployment: Deployment, history: History, command: str, lock_wait_s: float = LOCK_WAIT_S
    ) -> None:
        self.deployment = deployment
        self.history = history
        self.command = command
        self.execution = Execution(deployment, history, command, lock_wait_s)

    # --- the commands
    # ----------------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        overrides: Overrides | None = None,
        operation: Operation = Operation.START,
        *,
        reconfigured: bool = False,
    ) -> None:
        """Start a version and wait until it is healthy; the first one becomes active.

        With `overrides`, something new; else what it was started with before, `reconfigured` with the settings and
        the environment of now. Raises `UnhealthyVersion` when it does not become healthy; it is stopped again then.
        """
        given = overrides or Overrides()

        def decide(state: BlueGreenState) -> Plan:
            version = state.version(name)
            self.deployment.check_is_run_here(version)
            runs = self.deployment.is_alive(version)
            is_new = bool(given) or operation is Operation.RUN  # what a unit or a Procfile says holds, nothing before
            if runs and (is_new or reconfigured):
                raise ProcessError(f"{name} is running already", f"{PROGRAM} deploy, or {PROGRAM} stop {name} first")
            if runs:
                self.deployment.note(f"{name} is running already (pid {version.pid})")
            phases = phases_of(operation, target_runs=runs, promotes=state.active_version is None)
            plan = Plan(operation, name, phases, given.of_something_new(version) if is_new else version)
            if runs:
                return plan
            if is_new:
                return self.new(plan, is_demo=given.demo)
            return self.as_before(plan, reconfigured=reconfigured, takes_what_is_there=True)

        self.execution.carry_out(decide)

    def stop(self, name: str, *, force: bool = False, on_timeout: OnTimeout = OnTimeout.FAIL) -> None:
        """Stop a version after the requests that it still has.

        Raises `OperatorError` for the active version and `DrainTimedOut` for one that stays busy, without
        `force`.
        """

        def decide(state: BlueGreenState) -> Plan | None:
            version = state.version(name)
            self.deployment.check_is_run_here(version)
            runs = self.deployment.is_alive(version)
            if not runs and version.status != "crashed":
                self.deployment.note(f"{name} is not running")
                return None
            if runs and not force:
                self.deployment.check_spare(state, name)
            if runs and state.active_version == name and not force:
                raise OperatorError(
                    f"{name} is the active version: without it no request can be answered",
                    f"{PROGRAM} stop {name} --force, or {_switch_to_standby(state, self.deployment.now())}",
                )
            if not runs:
                self.deployment.note(
                    f"{name} had ended by itself ({ending_text(version.exit_status)}); it counts as stopped now"
                )
            phases = phases_of(Operation.STOP, target_runs=runs, drains=runs and not force)
            return Plan(
                Operation.STOP,
                name,
                phases,
                version,
                outgoing=name,
                force=force or not runs,  # one that does not run serves nobody, be it the active one
                on_timeout=on_timeout,
            )

        self.execution.carry_out(decide)

    def restart(self, name: str, *, reconfigured: bool = False, on_timeout: OnTimeout = OnTimeout.FAIL) -> None:
        """Stop a version and start it again as it was started before; raises as `start` does.

        Where the active version has several processes, one after the other, so that the others serve meanwhile; each
        first has its requests end, and `DrainTimedOut` is raised when they do not. `reconfigured`: the same release,
        with the settings and the environment of now.
        """

        def decide(state: BlueGreenState) -> Plan:
            version = state.version(name)
            self.deployment.check_is_run_here(version)
            runs = self.deployment.is_alive(version)
            self.check_ours(version)
            self.deployment.check_spare(state, name)
            phases = phases_of(Operation.RESTART, target_runs=runs, promotes=state.active_version is None)
            plan = Plan(Operation.RESTART, name, phases, version, on_timeout=on_timeout)
            count = count_of(version) if runs else None
            plan = self.as_before(plan, reconfigured=reconfigured, count=count)
            if runs and name == state.active_version and count_of(version) > 1:
                from app.deploy.run.turns import rolling

                plan = in_turns(plan, version, rolling(self.deployment, version), self.deployment.has_router)
            return plan

        self.execution.carry_out(decide)

    def switch(
        self, name: str, *, force: bool = False, wait: bool = False, on_timeout: OnTimeout = OnTimeout.FAIL
    ) -> None:
        """Send traffic to a version, healthy unless `force`; `wait` for the requests of the old one."""
        check_version(name)

        def decide(state: BlueGreenState) -> Plan:
            moves = state.active_version != name
            if not moves:
                self.deployment.note(f"{name} is the active version already")
            version = state.version(name)
            if moves and (warning := given_up(version, self.deployment.now())):
                self.deployment.note(warning, warns=True)
            phases = phases_of(
                Operation.SWITCH,
                target_runs=True,
                promotes=moves,
                drains=wait and state.active_version is not None,
                checks=self._checks(version),
            )
            return Plan(
                Operation.SWITCH,
                name,
                phases,
                version,
                outgoing=state.active_version,
                force=force,
                on_timeout=on_timeout,
            )

        self.execution.carry_out(decide)

    def rollback(self, to: int | None = None, *, wait: bool = False, on_timeout: OnTimeout = OnTimeout.FAIL) -> None:
        """Send traffic back to the version that was active before; one that does not run is started first.

        With `to`, back to what was active after the command of that number in the history. Smoke and post
        commands are for what is new; the way back does without them.
        """

        def decide(state: BlueGreenState) -> Plan | None:
            if to is not None:
                from app.deploy.release.past import rollback_to

                plan = rollback_to(self.deployment, self.history.entries(), to, state)
            else:
                plan = self._back(state)
            if plan is None:
                return None
            self.deployment.check_is_no_canary(state, plan.target)
            if plan.launches:
                self.check_ours(state.version(plan.target))
                if plan.release is None:
                    plan = self.as_before(plan, is_way_back=True)
            phases = (*plan.phases, Phase.DRAINING) if wait and plan.outgoing else plan.phases
            return plan._replace(phases=check_order(phases), on_timeout=on_timeout)

        self.execution.carry_out(decide)

    def _back(self, state: BlueGreenState) -> Plan:
        if state.previous_version is None or state.previous_version == state.active_version:
            from app.deploy.release.past import last_before

            if (earlier := last_before(self.history.entries(), state)) is not None:
                raise StateError(
                    f"there is nothing to roll back to at once: {state.standby_version} had what was active before, "
                    "and a deploy that failed took its place",
                    f"{PROGRAM} rollback --to={earlier.number}   # starts {earlier.release or 'it'} again",
                )
            raise StateError(
                "there is nothing to roll back to: no other version was active before",
                _switch_to_standby(state, self.deployment.now()),
            )
        version = state.version(state.previous_version)
        if warning := given_up(version, self.deployment.now()):
            self.deployment.note(warning, warns=True)
        checks = Configured(revert=bool(self.deployment.deploy.rollback))
        phases = phases_of(Operation.ROLLBACK, target_runs=self.deployment.runs(version), checks=checks)
        return Plan(Operation.ROLLBACK, version.name, phases, version, outgoing=state.active_version)

    def deploy(
        self,
        overrides: Overrides | None = None,
        *,
        stop_old: bool = False,
        on_timeout: OnTimeout = OnTimeout.FAIL,
        watch_s: float = 0.0,
        canary: CanaryPlan | None = None,
    ) -> None:
        """Start a release as the standby, gate it, switch to it and wait for the old version's requests.

        `watch_s`: compare it for so long with the old version, and go back on a regression. `canary`: give it a share
        of the requests first, and more of them as long as nothing speaks against it. Raises
        `UnhealthyVersion` when the release does not become healthy (nothing has changed for the clients) or
        does worse (traffic is back), and `DrainTimedOut` when the old version stays busy (the switch stands,
        and the old version runs on).
        """
        given = overrides or Overrides()

        def decide(state: BlueGreenState) -> Plan:
            name = state.free_version
            version = state.version(name)
            is_others = self.deployment.is_run_by_others(version)
            if is_others and given:
                self.deployment.check_is_run_here(version)
            if stop_old and state.active is not None:
                self.deployment.check_is_run_here(state.active)
            self.check_ours(version)
            self.deployment.check_spare(state, name)
            has_old = state.active_version is not None
            plan = Plan(
                Operation.DEPLOY,
                name,
                (),
                given.of_something_new(version),
                outgoing=state.active_version,
                on_timeout=on_timeout,
                watch_s=watch_s,
                canary=canary,
            )
            if not is_others:
                plan = self.new(plan, is_demo=given.demo)
            if canary is not None:
                from app.deploy.rolling_out import check_can_share

                check_can_share(self.deployment, state, plan)
            phases = phases_of(
                # What others have started is gated and switched to.
                Operation.SWITCH if is_others else Operation.DEPLOY,
                target_runs=is_others or self.deployment.is_alive(version),
                drains=has_old,
                retires=stop_old and has_old,
                checks=self._checks(version, plan.release)._replace(
                    watch=watch_s > 0 and has_old, canary=canary is not None
                ),
            )
            return plan._replace(phases=phases)

        self.execution.carry_out(decide)

    def _checks(self, version: VersionState, release: Release | None = None) -> Configured:
        """The configured commands around a switch to this version; raises `ConfigError` for one that cannot be run.

        `release` is what a deploy starts it with.
        """
        deploy = self.deployment.deploy
        if deploy.before or deploy.smoke or deploy.post or deploy.rollback:
            from app.deploy.run.hooks import check_commands

            check_commands(self.deployment, version, release)
        before = release is not None and bool(deploy.before)
        return Configured(before=before, smoke=bool(deploy.smoke), post=bool(deploy.post))

    # What is to be started is worked out and found to be there now: better than to learn of it half way.

    def new(self, plan: Plan, *, is_demo: bool) -> Plan:
        """The command, with a new release for what it starts, of the demo where that is asked for."""
        from app.deploy.release.making import StartSpec, make, spec_of
        from app.deploy.release.missing_command import check_command_is_set
        from app.deploy.release.placing import placed
        from app.deploy.release.remaking import known_as, tell_of_shared_place

        if not is_demo and StartSpec.of(plan.spec, self.deployment.app).is_demo:
            check_command_is_set(self.deployment, plan.spec.dir)
        release = make(self.deployment, plan.spec, is_deploy=plan.operation is Operation.DEPLOY, is_demo=is_demo)
        if plan.operation is Operation.RUN:
            release = known_as(self.deployment, release)
        spec = placed(self.deployment, spec_of(plan.spec, release), release, is_new=True)
        plan = plan._replace(spec=spec, release=release)
        tell_of_shared_place(self.deployment, plan)
        return plan

    def as_before(self, plan: Plan, *, count: int | None = None, **how: bool) -> Plan:
        """The command, with what its target was started with before; `how` is as in `remaking.as_before`.

        `count` is how many processes it is to have, where not as many as are set.
        """
        from app.deploy.release.making import spec_of
        from app.deploy.release.placing import placed
        from app.deploy.release.remaking import as_before

        release = as_before(self.deployment, plan.spec, **how)
        is_new = bool(how.get("reconfigured"))
        spec = placed(self.deployment, spec_of(plan.spec, release), release, is_new=is_new, count=count)
        return plan._replace(spec=spec, release=release)

    def check_ours(self, version: VersionState) -> None:
        """Raises `ProcessError` for a version that is run in the foreground, by somebody else's manager."""
        found = self.deployment.processes.find(version)
        if found.in_foreground:
            raise ProcessError(
                f"{version.name} is run in the foreground by pid {found.supervisor} "
                f"({PROGRAM} run {version.name}), which has to restart it",
                f"restart it there (systemctl restart …), then {PROGRAM} switch {version.name}",
            )
