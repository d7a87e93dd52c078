"""The health gate of one command: every process of the target must be well, or why it is not is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from app.address import Address
from app.command_line import PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.events import Diagnosed
from app.deploy.judge.gate import GateVerdict
from app.deploy.phases import Operation, Phase
from app.deploy.plan import Plan
from app.deploy.plan_run import PlanRun
from app.deploy.processes.process_table import Found
from app.deploy.processes.reconcile import ending_text
from app.deploy.processes.socket_files import keep_private
from app.operator_errors import UnhealthyVersion
from app.state.model import VersionState

__all__ = ["ask", "pass_gate"]

# A plain switch or rollback meets none of what is imported further down.

_LOG_LINES: Final = 40
"""gunicorn's master writes a traceback of its own, 35 lines below what kept its workers from starting."""


def pass_gate(run: PlanRun) -> None:
    """Ask the target for its health: patiently when it was just started or is to be started, else at once."""
    deployment, plan = run.deployment, run.plan
    version = deployment.store.read_or_new().version(plan.target)
    for number, (_, address) in enumerate(deployment.each(version), start=1):
        if str(address) not in version.drained:  # nobody is sent there
            ask(run, version, number, is_started=plan.launches)
    if deployment.is_alive(version) and version.status != "running":
        deployment.processes.begin_restarts(version)
        deployment.put(replace(version, status="running"))


def ask(run: PlanRun, version: VersionState, number: int, *, is_started: bool) -> None:
    """Ask one listener of a version, patiently when it was just started; raises `UnhealthyVersion` unless forced."""
    deployment = run.deployment
    one, address = deployment.each(version)[number - 1]
    if is_started:
        verdict = deployment.gate.wait(one.name, address, lambda: deployment.is_alive(one))
    elif run.plan.operation is Operation.START and _comes_back(deployment, one):
        verdict = deployment.gate.wait(
            one.name, address, lambda: deployment.is_alive(one) or _comes_back(deployment, one)
        )
    else:
        verdict = deployment.gate.confirm(one.name, address)
    if verdict.reason:
        _fail(run, _Asked(version, one, address, verdict, is_started))
    elif is_started and address.is_unix:
        keep_private(address.host)
    if number == len(deployment.addresses(version)):  # they all lead to the same place
        _warn_of_redirect(deployment, one, address, verdict)


def _comes_back(deployment: Deployment, one: VersionState) -> bool:
    """Whether the supervisor of a process has just started it again, or is about to."""
    found = deployment.processes.find(one)
    restarts = found.restarts
    if restarts is None or not restarts.is_on:
        return False
    is_young = restarts.times > 0 and deployment.now() - restarts.started_at < deployment.app.start_timeout
    return is_young if found.alive else found.supervisor is not None


class _Asked(NamedTuple):
    """Who was asked: a version, the one of its listeners, and what came of it."""

    version: VersionState
    one: VersionState
    address: Address
    verdict: GateVerdict
    is_started: bool

    @property
    def answers(self) -> bool:
        return any(probe.result.status is not None for probe in self.verdict.probes)


def _warn_of_redirect(deployment: Deployment, version: VersionState, address: Address, verdict: GateVerdict) -> None:
    location = verdict.probes[-1].result.leads_to if verdict.probes else ""
    if not location:
        return
    from app.deploy.judge.health_answers import advice

    app = deployment.app
    host = app.health_host or address.authority
    if why := advice(app.health_path, host, location):
        deployment.note(f"{version.name} answers its health check with a redirect to {location}: {why}", warns=True)


def _fail(run: PlanRun, asked: _Asked) -> None:
    deployment, plan, one = run.deployment, run.plan, asked.one
    found = deployment.processes.find(one)
    reason = f"{one.name} on {asked.address.spot} is not healthy: {asked.verdict.reason}{_why(asked, found)}"
    if plan.force:
        deployment.note(f"{reason}; going on because of --force", warns=True)
        return
    from app.deploy.processes.log_file import tail
    from app.deploy.processes.port_use import kept_by

    log = deployment.processes.log_path(one.name)
    begin = run.log_begins.get(one.name, 0)
    log_tail = tail(log, _LOG_LINES, begin) if asked.is_started or found.alive else []
    if any("in use" in line for line in log_tail) and (kept := kept_by(one.port)):
        reason += f"; its port has {kept}, which only a server with SO_REUSEADDR may ignore"
    deployment.report(Diagnosed(one.name, asked.verdict.probes, log, tuple(log_tail)))
    # One of several may be down, and a restart begins with that one.
    runs = deployment.is_alive(asked.version) or deployment.is_run_by_others(asked.version)
    raise UnhealthyVersion(reason, _mending(plan, asked, runs))


def _why(asked: _Asked, found: Found) -> str:
    """What explains that a process which was just started is not healthy; "" where nothing does."""
    if not asked.is_started:
        return ""
    if not found.alive:
        stays = "; a version has to stay in the foreground until it is stopped" if found.exit_status == 0 else ""
        return f" ({ending_text(found.exit_status)}){stays}"
    takes = "{socket}, or $BG_SOCKET" if asked.address.is_unix else "{port}, or $PORT"
    return "" if asked.answers else f"; it runs, but does not answer there: does its command take {takes}?"


def _mending(plan: Plan, asked: _Asked, runs: bool) -> str:
    """The command that helps with a version that is not healthy."""
    if asked.is_started:
        return f"{PROGRAM} logs {asked.one.name}"
    if not (runs or asked.answers):
        return f"{PROGRAM} start {plan.target}"
    if Phase.PROMOTING in plan.phases:
        return f"{PROGRAM} switch {plan.target} --force   # to switch all the same"
    return f"{PROGRAM} restart {plan.target}"
