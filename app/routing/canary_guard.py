"""A canary that is down: it gets no requests while its circuit is open, and some again once it is well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import getLogger
from time import time

from app.metrics.snapshot import Probe
from app.routing.circuit import CircuitState
from app.routing.failover import state_of, try_again
from app.routing.router import TrafficRouter
from app.routing.targets import Target

__all__ = ["CanaryGuard"]

logger = getLogger(__name__)


class CanaryGuard:
    """Looks after the canary of one worker. Without requests nobody else would find out that it answers again.

    Args:
        router: knows which version has a share.
        probes: a version's last health checks by its index, oldest first.
        now: wall time in seconds.
    """

    def __init__(
        self, router: TrafficRouter, probes: Callable[[int], Sequence[Probe]], now: Callable[[], float] = time
    ) -> None:
        self._router = router
        self._probes = probes
        self._now = now
        self._shut: Target | None = None
        self._shut_at = 0.0

    def look_again(self) -> None:
        """Once a second: whether a health check went well since the circuit was found open."""
        target = self._router.canary_target
        if target is None or state_of(target) is not CircuitState.OPEN:
            self._shut = None
        elif target is not self._shut:
            self._shut, self._shut_at = target, self._now()
            logger.error("%s has no share of the requests while its circuit is open", target.name)
        elif (probes := self._probes(target.version)) and probes[-1].ok and probes[-1].at > self._shut_at:
            logger.warning("%s is healthy again and has its share of the requests", target.name)
            try_again(target)
