"""The phases as actions on one deployment: each reads the state, does its one thing and writes the new state.

An action that fails raises an `OperatorError`. It does not clean up: what a failure undoes is in the phase
table, and `execution` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from app.command_line import PROGRAM
from app.deploy.events import Diagnosed, Launched, Promoted
from app.deploy.judge.gate import GateVerdict
from app.deploy.phases import Operation, Phase
from app.deploy.processes.reconcile import ending_text
from app.deploy.steps import Request, Steps
from app.errors import OperatorError, ProcessError, UnhealthyVersion
from app.state.model import VERSIONS, VersionState, promote
from app.state.process_birth import birth

if TYPE_CHECKING:
    from app.deploy.judge.vigil import Vigil

__all__ = ["act"]

# A plain switch or rollback goes through few of the phases; what the others need is imported by them.

_LOG_LINES = 40
"""gunicorn's master writes a traceback of its own, 35 lines below what kept its workers from starting."""


def act(steps: Steps, phase: Phase, request: Request) -> None:
    """Carry out one phase of a command; raises `OperatorError` when it fails."""
    _ACTIONS[phase](steps, request)


def _prepare(steps: Steps, request: Request) -> None:
    """Run the commands that a release wants before it is started."""
    from app.deploy.run.hooks import run_commands

    failure = run_commands(steps, steps.deploy.before, request.described, steps.deploy.before_timeout)
    if failure:
        raise OperatorError(
            f"a before command failed: {failure}; nothing was started, and traffic is where it was",
            "[deploy] before in traffic_router.toml",
        )


def _clear(steps: Steps, request: Request) -> None:
    """Stop what the target runs now, after the requests that it still has."""
    state, name = steps.store.read(), request.target
    if name == state.active_version:
        steps.hold_requests(name)
    else:
        steps.drain([name], f"{name} was not touched", request.on_timeout)
    steps.stop(state.version(name))


def _launch(steps: Steps, request: Request) -> None:
    """Start the target's process and record it."""
    from app.deploy.processes.launch import RestartPolicy, launch_of
    from app.deploy.processes.log_file import size
    from app.deploy.run.port_wait import get_port

    version, release = request.described, request.release
    if release is None:
        raise ProcessError(f"nothing says what {version.name} is to be started with", f"{PROGRAM} status")
    launch = launch_of(release, version, steps.app.address)
    # What a crashed process has left behind would keep the port.
    steps.end(version)
    get_port(steps, version)
    before = steps.store.read_or_new().version(version.name)
    is_same = version.release == before.release and (version.release or version.started_with == before.started_with)
    fresh = replace(
        version,
        rolled_back_at=before.rolled_back_at if is_same else None,
        status="starting",
        pid=None,
        pid_birth=None,
        started_at=steps.now(),
        exit_status=None,
        stop_signal=release.stop_signal,
    )
    steps.put(fresh)
    steps.log_begin = size(steps.processes.log_path(version.name))
    if (app := steps.app).restart == "on-failure":
        launch = launch._replace(restart=RestartPolicy(app.restart_limit, app.restart_delay, app.stop_timeout))
    pid = steps.processes.start(version.name, launch)
    steps.put(replace(fresh, pid=pid, pid_birth=birth(pid)))
    steps.report(
        Launched(
            version=version.name,
            pid=pid,
            port=version.port,
            command=launch.command,
            directory=launch.directory,
            release=version.release,
            log=None if request.operation is Operation.RUN else steps.processes.log_path(version.name),
            is_demo=release.is_demo,
        )
    )


def _pass_gate(steps: Steps, request: Request) -> None:
    """Ask the target for its health: patiently when it was just started, else at once."""
    version = steps.store.read_or_new().version(request.target)
    if request.launches:
        verdict = steps.gate.wait(version.name, version.port, lambda: steps.is_alive(version))
    else:
        verdict = steps.gate.confirm(version.name, version.port)
    if verdict.reason:
        _fail_gate(steps, version, verdict, request)
    _warn_of_redirect(steps, version, verdict)
    if steps.is_alive(version) and version.status != "running":
        steps.processes.begin_restarts(version)
        steps.put(replace(version, status="running"))


def _warn_of_redirect(steps: Steps, version: VersionState, verdict: GateVerdict) -> None:
    location = verdict.probes[-1].result.leads_to if verdict.probes else ""
    if not location:
        return
    from app.deploy.judge.health_answers import advice
    from app.transport.loopback import authority

    app = steps.app
    if why := advice(app.health_path, app.health_host or authority(app.address, version.port), location):
        steps.note(f"{version.name} answers its health check with a redirect to {location}: {why}", warns=True)


def _smoke(steps: Steps, request: Request) -> None:
    """Try the target with the configured commands while nobody depends on it."""
    from app.deploy.run.hooks import run_commands

    version = steps.store.read().version(request.target)
    failure = run_commands(steps, steps.deploy.smoke, version)
    if failure and request.force:
        steps.note(f"{failure}; going on because of --force", warns=True)
    elif failure:
        raise UnhealthyVersion(
            f"{version.name} does not stand the smoke test: {failure}", f"{PROGRAM} logs {version.name}"
        )


def _revert(steps: Steps, request: Request) -> None:
    """Run the commands that undo what the release which is left has prepared."""
    from app.deploy.run.hooks import revert

    state = steps.store.read()
    failure = revert(steps, state.version(request.leaving or request.target), request.described)
    if failure and steps.deploy.rollback_needs_success:
        raise OperatorError(
            f"a rollback command failed: {failure}; traffic is where it was",
            "[deploy] rollback_needs_success = false, and rollback again   # to go back all the same",
        )
    if failure:
        steps.note(f"a rollback command failed: {failure}; going back all the same", warns=True)


def _make_active(steps: Steps, request: Request) -> None:
    """Replace the state file; when this returns, each later request goes to the target."""
    before = steps.store.read_or_new()
    gives_up = request.operation is Operation.ROLLBACK
    after = promote(before, request.target, steps.now(), gives_up=gives_up)
    account = steps.open_account()
    steps.store.write(after)
    steps.account = account
    if account is not None and before.active_version is not None:
        account.lost_traffic(before.active_version)
    is_first = before.active_version is None
    has_router = is_first or steps.has_router  # before the very first one nobody expects a router
    steps.report(
        Promoted(request.target, after.version(request.target).port, before.active_version, is_first, has_router)
    )


def _move_link(steps: Steps, request: Request) -> None:
    """Let the link `[release] current` lead to what is active now."""
    from app.deploy.release.current_link import follow

    follow(steps, steps.store.read().version(request.target))


def _run_post(steps: Steps, request: Request) -> None:
    """Run the configured commands after the switch; one that fails takes the switch back."""
    from app.deploy.run.hooks import run_commands

    failure = run_commands(steps, steps.deploy.post, steps.store.read().version(request.target))
    if failure:
        raise UnhealthyVersion(
            f"{request.target} was active, and a post command failed: {failure}", f"{PROGRAM} logs {request.target}"
        )
    _vigil(steps, request).confirm()


def _watch(steps: Steps, request: Request) -> None:
    """Compare the target under traffic with the version before it."""
    from app.deploy.judge.watching import watch

    regression = watch(steps, request, _vigil(steps, request))
    if regression:
        raise UnhealthyVersion(
            f"{request.target} does worse than {request.leaving} did: {regression}", f"{PROGRAM} logs {request.target}"
        )


def _set(steps: Steps, request: Request) -> None:
    """Replace the state file by what the command makes of it."""
    after = request.change(steps.store.read_or_new())
    steps.store.write(after)
    if request.operation is Operation.PAUSE:
        steps.own_pause = after.pause


def _wait_for_drain(steps: Steps, request: Request) -> None:
    """Wait for the requests that are still on the version which lost its traffic, or on both in a pause."""
    if request.operation is Operation.PAUSE:
        _wait_for_quiet(steps, request)
        return
    if request.leaving is None:
        return
    stands = f"{request.leaving} keeps running"
    if request.operation is Operation.STOP:
        steps.drain([request.leaving], stands, request.on_timeout, request.drain_timeout_s)
        return
    stands = f"{request.target} is active, {stands}"
    vigil = _vigil(steps, request)
    steps.drain([request.leaving], stands, request.on_timeout, request.drain_timeout_s, vigil.look)
    vigil.confirm()


def _wait_for_quiet(steps: Steps, request: Request) -> None:
    stands = "so the pause was lifted, and requests flow again"
    steps.drain(VERSIONS, stands, request.on_timeout, request.drain_timeout_s)
    pause = steps.store.read().pause
    if pause is None or not pause.holds(steps.now()):
        raise OperatorError(
            "the pause ended before the last request did, so there was no quiet moment",
            f"{PROGRAM} pause --drain --max-hold=SECONDS   # with more time",
        )


def _retire(steps: Steps, request: Request) -> None:
    """Stop a version, unless it has become the active one since this was decided."""
    if request.leaving is None:
        return
    if steps.doubt:
        steps.note(f"{request.leaving} is not stopped, because {request.target} is doubtful", warns=True)
        return
    state = steps.store.read()
    if state.active_version == request.leaving and not request.force:
        raise ProcessError(
            f"{request.leaving} has become the active version in the meantime, so it was not stopped",
            f"{PROGRAM} status",
        )
    steps.stop(state.version(request.leaving))
    if request.operation is not Operation.STOP:
        _vigil(steps, request).confirm()


def _vigil(steps: Steps, request: Request) -> Vigil:
    from app.deploy.judge.vigil import Vigil

    return Vigil(steps, request)


_ACTIONS: Final[Mapping[Phase, Callable[[Steps, Request], None]]] = {
    Phase.PREPARING: _prepare,
    Phase.CLEARING: _clear,
    Phase.LAUNCHING: _launch,
    Phase.GATING: _pass_gate,
    Phase.SMOKING: _smoke,
    Phase.REVERTING: _revert,
    Phase.PROMOTING: _make_active,
    Phase.LINKING: _move_link,
    Phase.POSTING: _run_post,
    Phase.WATCHING: _watch,
    Phase.SETTING: _set,
    Phase.DRAINING: _wait_for_drain,
    Phase.RETIRING: _retire,
}


def _fail_gate(steps: Steps, version: VersionState, verdict: GateVerdict, request: Request) -> None:
    reason = f"{version.name} on port {version.port} is not healthy: {verdict.reason}"
    found = steps.processes.find(version)
    answers = any(probe.result.status is not None for probe in verdict.probes)
    if request.launches and not found.alive:
        reason += f" ({ending_text(found.exit_status)})"
        if found.exit_status == 0:
            reason += "; a version has to stay in the foreground until it is stopped"
    elif request.launches and not answers:
        reason += "; it runs, but does not answer there: does its command take {port}, or $PORT?"
    if request.force:
        steps.note(f"{reason}; going on because of --force", warns=True)
        return
    from app.deploy.processes.log_file import tail
    from app.deploy.processes.port_use import kept_by

    log = steps.processes.log_path(version.name)
    begin = steps.log_begin if request.launches else 0
    log_tail = tail(log, _LOG_LINES, begin) if request.launches or found.alive else []
    if any("in use" in line for line in log_tail) and (kept := kept_by(version.port)):
        reason += f"; its port has {kept}, which only a server with SO_REUSEADDR may ignore"
    steps.report(Diagnosed(version.name, verdict.probes, log, tuple(log_tail)))
    raise UnhealthyVersion(reason, _mending(request, found.alive or answers))


def _mending(request: Request, runs: bool) -> str:
    """The command that helps with a version that is not healthy."""
    if request.launches:
        return f"{PROGRAM} logs {request.target}"
    if not runs:
        return f"{PROGRAM} start {request.target}"
    if Phase.PROMOTING in request.phases:
        return f"{PROGRAM} switch {request.target} --force   # to switch all the same"
    return f"{PROGRAM} restart {request.target}"
