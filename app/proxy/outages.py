"""Versions that fail: their circuits, and the standby that takes over where that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import getLogger
from time import time

from app.config import RouterConfig
from app.errors import RouterError
from app.metrics.snapshot import Probe
from app.proxy.circuit import Circuit, CircuitState
from app.router import Target, TrafficRouter
from app.upstream.messages import UpstreamAnswer, UpstreamRequest

__all__ = ["Outages"]

logger = getLogger(__name__)


class Outages:
    """Follows the failures of one worker's requests.

    A version that answers is sent its requests through `Target.send` as it is. From its first failure on
    another function stands there, which notices the next answer; so counting costs healthy versions nothing.

    Args:
        config: the settings.
        router: sends requests elsewhere when told to.
        probes: a version's last health checks by its index, oldest first.
        publish: is told the index of the version whose requests go to the standby, None when they do not.
    """

    def __init__(
        self,
        config: RouterConfig,
        router: TrafficRouter,
        probes: Callable[[int], Sequence[Probe]],
        publish: Callable[[int | None], None],
    ) -> None:
        self._threshold = config.circuit_failures
        self._fails_over = config.failover == "standby"
        self._router = router
        self._probes = probes
        self._publish = publish
        self._diverted_from: Target | None = None
        self._diverted_at = 0.0

    def failed(self, target: Target) -> None:
        """Counts a gateway failure of a version, whether or not a client will hear of it."""
        if target.circuit is None:
            self._begin_counting(target)
        if target.circuit.failed():
            logger.error("%s: its circuit is open after %d failures in a row", target.name, target.circuit.failures)
            self._divert()

    def _begin_counting(self, target: Target) -> None:
        circuit = target.circuit = Circuit(self._threshold)
        plain = target.send

        def send_and_notice(request: UpstreamRequest) -> UpstreamAnswer:
            answer = plain(request)
            if circuit.state is not CircuitState.CLOSED:
                logger.warning("%s: answers again, its circuit is closed", target.name)
            circuit.succeeded()
            target.circuit = None
            target.send = plain
            return answer

        target.send = send_and_notice

    def state_of(self, target: Target) -> CircuitState:
        """What is known about a version by its answers."""
        circuit: Circuit | None = target.circuit
        return CircuitState.CLOSED if circuit is None else circuit.state

    # --- failover -----------------------------------------------------------------------------------------

    def look_again(self) -> None:
        """Once a second: whether requests should go over to the standby, or back."""
        if not self.is_diverted:
            self._divert()
        elif self._diverted_from is not None and self._has_recovered(self._diverted_from):
            self._return(self._diverted_from)
        if not self.is_diverted:
            self._publish(None)  # here at the latest: a switch ends it as well

    @property
    def is_diverted(self) -> bool:
        """Whether requests go to the standby just now."""
        home = self._diverted_from
        try:
            return home is not None and self._router.active() is home and self._router.is_diverted
        except RouterError:
            return False

    def _divert(self) -> None:
        """Sends requests to the standby when the active version's circuit is open and the standby is well."""
        if not self._fails_over:
            return
        try:
            home, standby = self._router.active(), self._router.standby()
        except RouterError:
            return
        if self.state_of(home) is not CircuitState.OPEN or not self._is_healthy(standby):
            return
        self._diverted_from, self._diverted_at = home, time()
        self._router.divert(standby)
        self._publish(home.version)
        logger.error("failover: %s is down, requests go to %s, which is healthy", home.name, standby.name)

    def _return(self, home: Target) -> None:
        """Sends requests back; the first one that fails there opens the circuit again."""
        self._diverted_from = None
        home.circuit.try_again()
        self._router.divert(home)
        logger.warning("failover: %s is healthy again, requests go back to it", home.name)

    def _is_healthy(self, target: Target) -> bool:
        last = self._last_probe(target)
        is_well = self.state_of(target) is not CircuitState.OPEN
        return last is not None and last.ok and is_well and not target.is_stopped

    def _has_recovered(self, home: Target) -> bool:
        last = self._last_probe(home)
        return last is not None and last.ok and last.at > self._diverted_at

    def _last_probe(self, target: Target) -> Probe | None:
        probes = self._probes(target.version)
        return probes[-1] if probes else None
