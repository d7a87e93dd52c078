"""The phases as actions on one deployment: each reads the state, does its one thing and writes the new state.

An action that fails raises an `OperatorError`. It does not clean up: what a failure undoes is in the phase
table, and `execution` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from app.address import Address
from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.events import Diagnosed, Launched, Promoted
from app.deploy.judge.gate import GateVerdict
from app.deploy.phases import Operation, Phase
from app.deploy.plan import Plan
from app.deploy.plan_run import PlanRun
from app.deploy.processes.reconcile import ending_text
from app.operator_errors import OperatorError, ProcessError, UnhealthyVersion
from app.state.model import VERSIONS, VersionState, promote
from app.state.process_birth import birth

if TYPE_CHECKING:
    from app.deploy.judge.vigil import Vigil

__all__ = ["act"]

# A plain switch or rollback goes through few of the phases; what the others need is imported by them.

_LOG_LINES = 40
"""gunicorn's master writes a traceback of its own, 35 lines below what kept its workers from starting."""


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
    """Start the target's process and record it."""
    deployment, plan = run.deployment, run.plan
    from app.deploy.processes.launch import RestartPolicy, launch_of
    from app.deploy.processes.log_file import size
    from app.deploy.run.port_wait import get_port

    version, release = plan.spec, plan.release
    if release is None:
        raise ProcessError(f"nothing says what {version.name} is to be started with", f"{PROGRAM} status")
    launch = launch_of(release, version, deployment.app.address)
    # What a crashed process has left behind would keep the port.
    deployment.end(version)
    get_port(deployment, version)
    before = deployment.store.read_or_new().version(version.name)
    is_same = version.release == before.release and (version.release or version.started_with == before.started_with)
    fresh = replace(
        version,
        rolled_back_at=before.rolled_back_at if is_same else None,
        status="starting",
        pid=None,
        pid_birth=None,
        started_at=deployment.now(),
        exit_status=None,
        stop_signal=release.stop_signal,
    )
    deployment.put(fresh)
    run.log_begin = size(deployment.processes.log_path(version.name))
    if (app := deployment.app).restart == "on-failure":
        launch = launch._replace(restart=RestartPolicy(app.restart_limit, app.restart_delay, app.stop_timeout))
    pid = deployment.processes.start(version.name, launch)
    deployment.put(replace(fresh, pid=pid, pid_birth=birth(pid)))
    deployment.report(
        Launched(
            version=version.name,
            pid=pid,
            port=version.port,
            command=launch.command,
            directory=launch.directory,
            release=version.release,
            log=None if plan.operation is Operation.RUN else deployment.processes.log_path(version.name),
            is_demo=release.is_demo,
        )
    )


def _pass_gate(run: PlanRun) -> None:
    """Ask the target for its health: patiently when it was just started, else at once."""
    deployment, plan = run.deployment, run.plan
    version = deployment.store.read_or_new().version(plan.target)
    for address in deployment.addresses(version):
        if plan.launches:
            verdict = deployment.gate.wait(version.name, address, lambda: deployment.is_alive(version))
        else:
            verdict = deployment.gate.confirm(version.name, address)
        if verdict.reason:
            _fail_gate(run, version, address, verdict)
    _warn_of_redirect(deployment, version, verdict)
    if deployment.is_alive(version) and version.status != "running":
        deployment.processes.begin_restarts(version)
        deployment.put(replace(version, status="running"))


def _warn_of_redirect(deployment: Deployment, version: VersionState, verdict: GateVerdict) -> None:
    location = verdict.probes[-1].result.leads_to if verdict.probes else ""
    if not location:
        return
    from app.deploy.judge.health_answers import advice

    app = deployment.app
    host = app.health_host or deployment.addresses(version)[-1].authority
    if why := advice(app.health_path, host, location):
        deployment.note(f"{version.name} answers its health check with a redirect to {location}: {why}", warns=True)


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


def _make_active(run: PlanRun) -> None:
    """Replace the state file; when this returns, each later request goes to the target."""
    deployment, plan = run.deployment, run.plan
    before = deployment.store.read_or_new()
    gives_up = plan.operation is Operation.ROLLBACK
    after = promote(before, plan.target, deployment.now(), gives_up=gives_up)
    account = run.open_account()
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


def _vigil(run: PlanRun) -> Vigil:
    from app.deploy.judge.vigil import Vigil

    return Vigil(run)


_ACTIONS: Final[Mapping[Phase, Callable[[PlanRun], None]]] = {
    Phase.PREPARING: _prepare,
    Phase.CLEARING: _clear,
    Phase.LAUNCHING: _launch,
    Phase.GATING: _pass_gate,
    Phase.SMOKE_TEST: _smoke,
    Phase.REVERTING: _revert,
    Phase.PROMOTING: _make_active,
    Phase.LINKING: _move_link,
    Phase.POST_SWITCH: _run_post,
    Phase.WATCHING: _watch,
    Phase.WRITE_STATE: _set,
    Phase.DRAINING: _wait_for_drain,
    Phase.RETIRING: _retire,
}


def _fail_gate(run: PlanRun, version: VersionState, address: Address, verdict: GateVerdict) -> None:
    deployment, plan = run.deployment, run.plan
    reason = f"{version.name} on {address.spot} is not healthy: {verdict.reason}"
    found = deployment.processes.find(version)
    answers = any(probe.result.status is not None for probe in verdict.probes)
    if plan.launches and not found.alive:
        reason += f" ({ending_text(found.exit_status)})"
        if found.exit_status == 0:
            reason += "; a version has to stay in the foreground until it is stopped"
    elif plan.launches and not answers:
        reason += "; it runs, but does not answer there: does its command take {port}, or $PORT?"
    if plan.force:
        deployment.note(f"{reason}; going on because of --force", warns=True)
        return
    from app.deploy.processes.log_file import tail
    from app.deploy.processes.port_use import kept_by

    log = deployment.processes.log_path(version.name)
    begin = run.log_begin if plan.launches else 0
    log_tail = tail(log, _LOG_LINES, begin) if plan.launches or found.alive else []
    if any("in use" in line for line in log_tail) and (kept := kept_by(version.port)):
        reason += f"; its port has {kept}, which only a server with SO_REUSEADDR may ignore"
    deployment.report(Diagnosed(version.name, verdict.probes, log, tuple(log_tail)))
    runs = found.alive or answers or deployment.is_run_by_others(version)
    raise UnhealthyVersion(reason, _mending(plan, runs))


def _mending(plan: Plan, runs: bool) -> str:
    """The command that helps with a version that is not healthy."""
    if plan.launches:
        return f"{PROGRAM} logs {plan.target}"
    if not runs:
        return f"{PROGRAM} start {plan.target}"
    if Phase.PROMOTING in plan.phases:
        return f"{PROGRAM} switch {plan.target} --force   # to switch all the same"
    return f"{PROGRAM} restart {plan.target}"
