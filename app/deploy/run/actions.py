"""The phases as actions on one deployment: each reads the state, does its one thing and writes the new state.

An action that fails raises an `OperatorError`. It does not clean up: what a failure undoes is in the phase
table, and `execution` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from app.command_line import PROGRAM
from app.deploy.events import Promoted
from app.deploy.phases import Operation, Phase
from app.deploy.plan_run import PlanRun
from app.operator_errors import OperatorError, ProcessError, UnhealthyVersion
from app.state.model import VERSIONS, promote

if TYPE_CHECKING:
    from app.deploy.judge.vigil import Vigil

__all__ = ["act"]

# A plain switch or rollback goes through few of the phases; what the others need is imported by them.


def act(run: PlanRun, phase: Phase) -> None:
    """Carry out one phase of a command; raises `OperatorError` when it fails."""
    _ACTIONS[phase](run)


def _prepare(run: PlanRun) -> None:
    """Run the commands that a release wants before it is started."""
    deployment, plan = run.deployment, run.plan
    from app.deploy.run.hooks import run_commands

    failure = run_commands(deployment, deployment.deploy.before, plan.spec, deployment.deploy.before_timeout)
    if failure:
        raise OperatorError(
            f"a before command failed: {failure}; nothing was started, and traffic is where it was",
            "[deploy] before in traffic_router.toml",
        )


def _clear(run: PlanRun) -> None:
    """Stop what the target runs now, after the requests that it still has."""
    deployment, plan = run.deployment, run.plan
    state, name = deployment.store.read(), plan.target
    if name == state.active_version:
        run.hold_requests(name)
    else:
        run.drain([name], f"{name} was not touched")
    deployment.stop(state.version(name))


def _launch(run: PlanRun) -> None:
    """Start the target's processes and record them."""
    from app.deploy.run.launching import launch

    launch(run)


def _gate(run: PlanRun) -> None:
    """Ask the target for its health."""
    from app.deploy.run.gating import pass_gate

    pass_gate(run)


def _smoke(run: PlanRun) -> None:
    """Try the target with the configured commands while nobody depends on it."""
    deployment, plan = run.deployment, run.plan
    from app.deploy.run.hooks import run_commands

    version = deployment.store.read().version(plan.target)
    failure = run_commands(deployment, deployment.deploy.smoke, version)
    if failure and plan.force:
        deployment.note(f"{failure}; going on because of --force", warns=True)
    elif failure:
        raise UnhealthyVersion(
            f"{version.name} does not stand the smoke test: {failure}", f"{PROGRAM} logs {version.name}"
        )


def _revert(run: PlanRun) -> None:
    """Run the commands that undo what the release which is left has prepared."""
    deployment, plan = run.deployment, run.plan
    from app.deploy.run.hooks import revert

    state = deployment.store.read()
    failure = revert(deployment, state.version(plan.outgoing or plan.target), plan.spec)
    if failure and deployment.deploy.rollback_needs_success:
        raise OperatorError(
            f"a rollback command failed: {failure}; traffic is where it was",
            "[deploy] rollback_needs_success = false, and rollback again   # to go back all the same",
        )
    if failure:
        deployment.note(f"a rollback command failed: {failure}; going back all the same", warns=True)


def _roll_out(run: PlanRun) -> None:
    """Give the target a share of the requests, and more of them as long as nothing speaks against it."""
    from app.deploy.run.conducting import conduct

    conduct(run)


def _make_active(run: PlanRun) -> None:
    """Replace the state file; when this returns, each later request goes to the target."""
    deployment, plan = run.deployment, run.plan
    before = deployment.store.read_or_new()
    if plan.canary is not None:
        from app.deploy.run.conducting import check_not_taken_back

        check_not_taken_back(run, before)
    gives_up = plan.operation is Operation.ROLLBACK
    after = promote(before, plan.target, deployment.now(), gives_up=gives_up)
    account = run.open_account(after)
    deployment.store.write(after)
    run.account = account
    if account is not None and before.active_version is not None:
        account.lost_traffic(before.active_version)
    is_first = before.active_version is None
    has_router = is_first or deployment.has_router  # before the very first one nobody expects a router
    deployment.report(
        Promoted(plan.target, deployment.place(after.version(plan.target)), before.active_version, is_first, has_router)
    )


def _move_link(run: PlanRun) -> None:
    """Let the link `[release] current` lead to what is active now."""
    deployment, plan = run.deployment, run.plan
    from app.deploy.release.current_link import follow

    follow(deployment, deployment.store.read().version(plan.target))


def _run_post(run: PlanRun) -> None:
    """Run the configured commands after the switch; one that fails takes the switch back."""
    deployment, plan = run.deployment, run.plan
    from app.deploy.run.hooks import run_commands

    failure = run_commands(deployment, deployment.deploy.post, deployment.store.read().version(plan.target))
    if failure:
        raise UnhealthyVersion(
            f"{plan.target} was active, and a post command failed: {failure}", f"{PROGRAM} logs {plan.target}"
        )
    _vigil(run).confirm()


def _watch(run: PlanRun) -> None:
    """Compare the target under traffic with the version before it."""
    plan = run.plan
    from app.deploy.judge.watching import watch

    regression = watch(run, _vigil(run))
    if regression:
        raise UnhealthyVersion(
            f"{plan.target} does worse than {plan.outgoing} did: {regression}", f"{PROGRAM} logs {plan.target}"
        )


def _set(run: PlanRun) -> None:
    """Replace the state file by what the command makes of it."""
    deployment, plan = run.deployment, run.plan
    after = plan.change(deployment.store.read_or_new())
    deployment.store.write(after)
    if plan.operation is Operation.PAUSE:
        run.own_pause = after.pause


def _wait_for_drain(run: PlanRun) -> None:
    """Wait for the requests that are still on the version which lost its traffic, or on both in a pause."""
    plan = run.plan
    if plan.operation is Operation.PAUSE:
        _wait_for_quiet(run)
        return
    if run.turn:
        run.deployment.wait_for_workers()  # each has by then counted what it sent to a process that was alone
        run.drain([plan.target], f"{plan.target} runs on")
        return
    if plan.outgoing is None:
        return
    consequence = f"{plan.outgoing} keeps running"
    if plan.operation is Operation.STOP:
        run.drain([plan.outgoing], consequence)
        return
    consequence = f"{plan.target} is active, {consequence}"
    vigil = _vigil(run)
    run.drain([plan.outgoing], consequence, vigil.look)
    vigil.confirm()


def _wait_for_quiet(run: PlanRun) -> None:
    deployment = run.deployment
    consequence = "so the pause was lifted, and requests flow again"
    run.drain(VERSIONS, consequence)
    pause = deployment.store.read().pause
    if pause is None or not pause.holds(deployment.now()):
        raise OperatorError(
            "the pause ended before the last request did, so there was no quiet moment",
            f"{PROGRAM} pause --drain --max-hold=SECONDS   # with more time",
        )


def _retire(run: PlanRun) -> None:
    """Stop a version, unless it has become the active one since this was decided."""
    deployment, plan = run.deployment, run.plan
    if plan.outgoing is None:
        return
    if run.doubt:
        deployment.note(f"{plan.outgoing} is not stopped, because {plan.target} is doubtful", warns=True)
        return
    state = deployment.store.read()
    if state.active_version == plan.outgoing and not plan.force:
        raise ProcessError(
            f"{plan.outgoing} has become the active version in the meantime, so it was not stopped",
            f"{PROGRAM} status",
        )
    deployment.stop(state.version(plan.outgoing))
    if plan.operation is not Operation.STOP:
        _vigil(run).confirm()


def _spare(run: PlanRun) -> None:
    from app.deploy.run.turns import spare

    spare(run)


def _replace(run: PlanRun) -> None:
    from app.deploy.run.turns import replace_some

    replace_some(run)


def _add(run: PlanRun) -> None:
    from app.deploy.run.turns import add

    add(run)


def _remove(run: PlanRun) -> None:
    from app.deploy.run.turns import remove

    remove(run)


def _vigil(run: PlanRun) -> Vigil:
    from app.deploy.judge.vigil import Vigil

    return Vigil(run)


_ACTIONS: Final[Mapping[Phase, Callable[[PlanRun], None]]] = {
    Phase.PREPARING: _prepare,
    Phase.CLEARING: _clear,
    Phase.LAUNCHING: _launch,
    Phase.GATING: _gate,
    Phase.SMOKE_TEST: _smoke,
    Phase.REVERTING: _revert,
    Phase.CANARY: _roll_out,
    Phase.PROMOTING: _make_active,
    Phase.LINKING: _move_link,
    Phase.POST_SWITCH: _run_post,
    Phase.WATCHING: _watch,
    Phase.WRITE_STATE: _set,
    Phase.DRAINING: _wait_for_drain,
    Phase.RETIRING: _retire,
    Phase.SPARING: _spare,
    Phase.REPLACING: _replace,
    Phase.ADDING: _add,
    Phase.REMOVING: _remove,
}
