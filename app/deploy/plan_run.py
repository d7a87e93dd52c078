"""One plan being carried out: what it has found and made so far, and how requests are held and waited for meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.address import Address
from app.command_line import PROGRAM, ROUTER_PROGRAM
from app.deploy.deployment import Deployment
from app.deploy.drain import OnTimeout
from app.deploy.events import ReceiptReady
from app.deploy.plan import Plan
from app.deploy.record.receipt import SwitchAccount
from app.operator_errors import DrainTimedOut, OperatorError
from app.state.model import BlueGreenState, Pause, VersionState, with_pause, without_pause

__all__ = ["PlanRun"]


@dataclass(eq=False, repr=False)
class PlanRun:
    """A plan, the deployment that it is carried out on, and what has come of it so far.

    Attributes:
        log_begins: where the log of each process that was started begins; before it are its predecessors' lines.
        account: opened by a switch.
        own_pause: made by this command, be it for a restart of the active version.
        doubt: what a watch has found against the new version and could not prove.
        watched: what a watch came to, for the history.
        rolled_out: what a canary came to, for the history.
        turns_done: how many of the plan's turns have come to their end.
    """

    deployment: Deployment
    plan: Plan
    log_begins: dict[str, int] = field(default_factory=dict)
    account: SwitchAccount | None = None
    own_pause: Pause | None = None
    doubt: str = ""
    watched: Mapping[str, object] = field(default_factory=dict)
    turns_done: int = 0
    rolled_out: Mapping[str, object] = field(default_factory=dict)

    @property
    def before(self) -> VersionState:
        """The target as it was when the plan was made."""
        return self.plan.before or self.plan.spec

    @property
    def turn(self) -> tuple[int, ...]:
        """The numbers of the target's listeners that are dealt with now; none when all have been."""
        return self.plan.turns[self.turns_done] if self.turns_done < len(self.plan.turns) else ()

    @property
    def listeners(self) -> Mapping[str, Address]:
        """Those of this turn: where each is, by its name, or by its address where others run it."""
        if not self.turn:
            return {}
        version = self.deployment.store.read().version(self.plan.target)
        is_others, each = self.deployment.is_run_by_others(version), self.deployment.each(version)
        taken = [each[number - 1] for number in self.turn]
        return {str(address) if is_others else one.name: address for one, address in taken}

    def hold_requests(self, name: str) -> None:
        """Before the active version is stopped: let new requests wait for it, and those that it has come to their end.

        The former for as long as the router waits for a version that restarts by itself, unless the operator has
        paused already; the latter for half of that: what takes longer is the version's to finish. Whatever becomes
        of this command, a pause that is made here ends.
        """
        here = self.deployment
        state, limit_s = here.store.read(), here.hold_timeout_s
        if here.traffic is None or not limit_s:
            here.note(f"{name} is active: requests fail until it is healthy again", warns=True)
            return
        if state.pause is None:
            state = with_pause(state, here.now(), limit_s)
            here.store.write(state)
            self.own_pause = state.pause
            here.note(f"{name} is active: new requests wait for it, at most {limit_s:g} s")
        here.drain_of(here.traffic).wait([name], limit_s / 2, OnTimeout.PROCEED)

    def lift_own_pause(self) -> None:
        """End the pause that this command made, if it is still that one; only for who holds the lock."""
        if self.own_pause is None:
            return
        here = self.deployment
        state = here.store.read()
        if state.pause == self.own_pause:
            here.store.write(without_pause(state))
        elif state.pause is not None:
            here.note("another command has paused in the meantime, and its pause stands", warns=True)
        self.own_pause = None

    def drain(self, names: Sequence[str], consequence: str, look: Callable[[], None] = lambda: None) -> None:
        """Wait for the requests of versions; `consequence` says what holds should the time run out.

        `look` is called all the while, and ends the wait by raising.

        Raises `DrainTimedOut` then, unless the plan says otherwise; and `OperatorError` where the requests
        cannot be seen, for what cannot be seen must not be taken for nothing.
        """
        here, plan = self.deployment, self.plan
        whose, has = " and ".join(names), "has" if len(names) == 1 else "have"
        if here.blind:
            raise OperatorError(
                f"whether {whose} {has} requests in flight cannot be told: {here.blind}; {consequence}",
                f"{ROUTER_PROGRAM} reload   # so that the router counts where this program looks",
            )
        if here.traffic is None:
            here.note(f"the router is not running, so {whose} {has} no requests to wait for")
            return
        timeout_s = here.drain_timeout_s if plan.drain_timeout_s is None else plan.drain_timeout_s
        outcome = here.drain_of(here.traffic, self.listeners).wait(names, timeout_s, plan.on_timeout, look)
        if self.account is not None:
            self.account.drain_s, self.account.remaining = outcome.duration_s, outcome.named
        if not outcome.is_complete and plan.on_timeout is OnTimeout.FAIL:
            raise DrainTimedOut(
                f"{whose} still {has} {_count(outcome.remaining)} in flight after "
                f"{outcome.duration_s:.0f} s{f' (oldest: {outcome.named[0]})' if outcome.named else ''}; {consequence}",
                f"{PROGRAM} stop {names[0]} --force   # to cut them off" if len(names) == 1 else "",
            )

    def open_account(self, state: BlueGreenState) -> SwitchAccount | None:
        """The figures of this moment, which a receipt can begin from; None without a router."""
        here = self.deployment
        if here.traffic is None:
            return None
        places = {name: found for name, it in state.versions.items() if len(found := here.addresses(it)) > 1}
        return SwitchAccount.open(here.traffic, here.clock(), places)

    def close_account(self) -> dict[str, object]:
        """Report the receipt, if a switch was made under a router; gives what the history keeps."""
        here = self.deployment
        found = {"watch": self.watched, "canary": self.rolled_out}
        kept: dict[str, object] = {name: facts for name, facts in found.items() if facts}
        if self.account is None:
            return kept
        receipt = self.account.close(here.clock())
        self.account = None
        if receipt is None:
            here.note("the router's metrics were begun anew in the meantime, so there is no receipt", warns=True)
            return kept
        here.report(ReceiptReady(receipt))
        return {"receipt": receipt.as_json(), **kept}


def _count(requests: int) -> str:
    return "1 request" if requests == 1 else f"{requests} requests"
