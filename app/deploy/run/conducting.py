"""Conducting a rollout: a look every second, what follows from it, and the canary's share kept up until it is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from app.canary.outcomes import Pair
from app.canary.policy import FEWEST_CLIENTS, Decision, Ruling, judge
from app.canary.rollout import Glance, Rollout
from app.canary.rollout_text import figures, sentence
from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.deploy.canary_plan import CanaryPlan
from app.deploy.conduct.canary_record import CanaryRecord, write_record
from app.deploy.conduct.share import CanaryShare
from app.deploy.events import CanaryJudged
from app.deploy.plan_run import PlanRun
from app.deploy.processes.reconcile import ending_text
from app.deploy.traffic import Traffic
from app.operator_errors import OperatorError, UnhealthyVersion
from app.state.model import BlueGreenState
from app.units import versioned

__all__ = ["check_not_taken_back", "conduct"]

_LOOK_S: Final = 1.0
"""As long as one second of the evidence."""

_ENDED: Final = frozenset({Decision.BACK, Decision.PROMOTE})


def conduct(run: PlanRun) -> None:
    """Give the target a share, and more of it as long as nothing speaks against it; return when it may have all.

    Raises `UnhealthyVersion` when it is to go back, and `OperatorError` where nobody can see how it does.
    """
    plan, deployment = run.plan.canary, run.deployment
    assert plan is not None
    if deployment.traffic is None:
        why = deployment.blind or "the router is not running"
        raise OperatorError(f"nobody can see how {run.plan.target} does: {why}", f"{ROUTER_PROGRAM} status")
    _Conductor(run, plan, deployment.traffic).conduct()


def check_not_taken_back(run: PlanRun, state: BlueGreenState) -> None:
    """Raises `UnhealthyVersion` where the share was taken back after it was decided that the target may have all."""
    plan = run.plan.canary
    if plan is not None and plan.split_in(state) is None:
        raise UnhealthyVersion(
            f"{run.plan.target} was taken back while it was about to have all requests", f"{PROGRAM} history"
        )


@dataclass(eq=False)
class _Conductor:
    """Of the rollout of one plan."""

    run: PlanRun
    plan: CanaryPlan
    traffic: Traffic
    share: CanaryShare = field(init=False)
    failed_checks: int = 0
    told: tuple[Decision, int] | None = None

    def __post_init__(self) -> None:
        self.here, self.canary, self.stable = self.run.deployment, self.run.plan.target, self.run.plan.outgoing or ""
        self.share = CanaryShare(self.here, self.plan, self.canary, self.traffic.pace(self.stable))
        state = self.here.store.read()
        self.names = (
            versioned(self.canary, state.version(self.canary).release),
            versioned(self.stable, state.version(self.stable).release),
        )

    def conduct(self) -> None:
        """Look until it is decided."""
        rollout = Rollout(self.plan.course)
        self._keep(Ruling(rollout, Decision.WAIT, "it begins"))
        self.share.begin(rollout.weight)
        began, base = self.here.clock(), self._counts()
        looks = 0
        while True:
            ruling = judge(rollout, self._glance(self.here.clock() - began, base))
            rollout = ruling.rollout
            self._tell(ruling)
            if ruling.decision in _ENDED:
                break
            self.share.keep_up(rollout.weight)
            looks += 1
            self.here.sleep(max(0.0, began + looks * _LOOK_S - self.here.clock()))
        if ruling.decision is Decision.BACK:
            said = sentence(rollout, *self.names, "")
            raise UnhealthyVersion(
                f"{self.names[0]} goes back: {ruling.reason}. {said}", f"{PROGRAM} logs {self.canary}"
            )

    def _glance(self, at_s: float, base: Pair) -> Glance:
        state = self.here.store.read()
        if state.active_version != self.stable:
            raise OperatorError(f"another command has made {state.active_version} active", f"{PROGRAM} history")
        ours, version = self.plan.split_in(state), state.version(self.canary)
        found = self.here.processes.find(version)
        is_ours = self.run.plan.launches and not found.in_foreground
        return Glance(
            at_s,
            self._counts().since(base),
            clients=self._clients(),
            in_flight=self.traffic.in_flight(self.canary),
            ended=ending_text(found.exit_status) if is_ours and not found.alive else "",
            failed_checks=self._check(state),
            order="abort" if ours is None else ours.order,
        )

    def _clients(self) -> int:
        """Of how many clients the canary is known to have had requests.

        Behind a proxy that hides them all come from one address; what says nothing of the stable version's counts for
        nothing here.
        """
        can_tell = self.traffic.clients_of(self.stable) >= FEWEST_CLIENTS
        return self.traffic.clients_of(self.canary) if can_tell else FEWEST_CLIENTS

    def _counts(self) -> Pair:
        return self.traffic.shared_out(self.canary, by_client=self.plan.course.is_sticky)

    def _check(self, state: BlueGreenState) -> int:
        """Ask the canary for its health; gives how often in a row it was not well."""
        addresses = self.here.addresses(state.version(self.canary))
        is_well = all(self.here.gate.probe(address, self.here.app).ok for address in addresses)
        self.failed_checks = 0 if is_well else self.failed_checks + 1
        return self.failed_checks

    def _tell(self, ruling: Ruling) -> None:
        """Say how it stands."""
        record = self._keep(ruling)
        mark = ruling.decision, ruling.rollout.weight
        self.here.report(CanaryJudged(self.canary, record.sentence, is_news=mark != self.told))
        self.told = mark

    def _keep(self, ruling: Ruling) -> CanaryRecord:
        """Keep how it stands for who asks, and for the history."""
        rollout, decision, reason = ruling
        self.run.rolled_out = {"decision": decision.value, "reason": reason, **figures(rollout)}
        record = CanaryRecord.of(ruling, self.plan.salt, self.names, self.here.now())
        write_record(self.here.store.folder, record)
        return record
