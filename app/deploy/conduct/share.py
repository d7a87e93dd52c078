"""The share of the requests that a canary has: given, raised, kept up and taken back, in the state file."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Final

from app.command_line import PROGRAM
from app.deploy.canary_plan import CanaryPlan
from app.deploy.deployment import Deployment
from app.deploy.drain import OnTimeout
from app.operator_errors import LockBusy, OperatorError, StateError
from app.state.model import BlueGreenState, with_split, without_split
from app.state.split import Split

__all__ = ["CanaryShare", "take_back"]

_LASTS_S: Final = 10.0
"""How long a share holds when nobody keeps it up any more."""

_RENEWED_S: Final = 7.0
"""With less than this left it is put off again."""

_LOCK_WAIT_S: Final = 0.5
"""Another command may be at work for long; the next look comes in a second."""

_DRAINED_S: Final = 10.0


@dataclass(eq=False)
class CanaryShare:
    """That of one rollout. `slow_ms`: beyond these a request counts as slow, by the median and the 95th percentile."""

    deployment: Deployment
    plan: CanaryPlan
    canary: str
    slow_ms: tuple[float, float] | None = None

    def begin(self, weight: int) -> None:
        """Give the canary its first share; raises `LockBusy`, or `OperatorError` where somebody else shares out."""
        with self._locked(30.0):
            state = self.deployment.store.read()
            if state.split is not None:
                raise OperatorError("the requests are shared out already", f"{PROGRAM} canary abort")
            if state.active_version == self.canary:
                raise OperatorError(f"another command has made {self.canary} active", f"{PROGRAM} status")
            self._write(state, Split(self.canary, weight, 0.0, self.plan.salt, self.plan.sticky, self.slow_ms))

    def keep_up(self, weight: int) -> None:
        """See to it that the canary has this weight for some seconds more; the next call makes up for one that cannot.

        A share that was taken back stays so.
        """
        with suppress(LockBusy, StateError):
            if self._is_kept(self.plan.split_in(self.deployment.store.read()), weight):
                return
            with self._locked(_LOCK_WAIT_S):
                state = self.deployment.store.read()
                if (ours := self.plan.split_in(state)) is not None:
                    self._write(state, replace(ours, weight=weight))

    def _is_kept(self, ours: Split | None, weight: int) -> bool:
        return ours is None or (ours.weight == weight and ours.until - self.deployment.now() > _RENEWED_S)

    def _write(self, state: BlueGreenState, split: Split) -> None:
        until = self.deployment.now() + _LASTS_S
        self.deployment.store.write(with_split(state, replace(split, until=until)))

    def _locked(self, wait_s: float) -> AbstractContextManager[object]:
        return self.deployment.store.lock(f"{PROGRAM} canary", wait_s)


def take_back(deployment: Deployment, canary: str) -> bool:
    """Give the canary's requests to the active version, and let it end those that it has; gives whether it had a share.

    Only for who holds the lock.
    """
    state = deployment.store.read_or_new()
    if state.split is None or state.split.canary != canary:
        return False
    deployment.store.write(without_split(state, deployment.now()))
    deployment.wait_for_workers()
    if deployment.traffic is not None:
        timeout_s = min(_DRAINED_S, deployment.drain_timeout_s)
        deployment.drain_of(deployment.traffic).wait([canary], timeout_s, OnTimeout.PROCEED)
    return True
