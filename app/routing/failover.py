"""Versions that fail: their circuits, and the standby that takes over where that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import getLogger
from time import time

from app.errors import RouterError
from app.metrics.snapshot import Probe
from app.routing.circuit import Circuit, CircuitState
from app.routing.router import TrafficRouter
from app.routing.targets import Target
from app.settings.tables.router_settings import RouterConfig

__all__ = ["Failover", "FailureDetector", "state_of", "try_again"]

logger = getLogger(__name__)


class FailureDetector:
    """Follows the failures of one worker's requests.

    A version has a circuit from its first failure in a row on; so healthy ones cost a request nothing.

    Args:
        threshold: failures in a row that open a circuit; 0 never does.
        on_open: called when one opens.
    """

    def __init__(self, threshold: int, on_open: Callable[[], None]) -> None:
        self._threshold = threshold
        self._on_open = on_open

    def failed(self, target: Target) -> None:
        """Counts a gateway failure of a version, whether or not a client will hear of it."""
        backends = target.whole.backends if target.backend >= 0 else None
        if backends is None:
            circuit = target.circuit = target.circuit or Circuit(self._threshold)
        else:
            backends.count_failure(target)
            circuit = backends.circuit_of(target)
        if circuit.failed():
            logger.error("%s: its circuit is open after %d failures in a row", target.label, circuit.failures)
            if backends is not None:
                logger.error("%s: is left alone for %.1f s", target.label, backends.eject(target))
            self._on_open()

    def answered(self, target: Target, circuit: Circuit) -> None:
        """A version has answered a request that was sent when it had a circuit; others prove nothing."""
        was = circuit.state
        if not circuit.succeeded():
            return  # more than one answer is asked of it
        if was is not CircuitState.CLOSED:
            logger.warning("%s: answers again, its circuit is closed", target.label)
        if circuit.is_past:
            target.circuit = None


class Failover:
    """Sends one worker's requests to the standby while the active version is down.

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
        self._is_on = config.hold.failover == "standby"
        self._router = router
        self._probes = probes
        self._publish = publish
        self._diverted_from: Target | None = None
        self._diverted_at = 0.0

    def look_again(self) -> None:
        """Once a second: whether requests should go over to the standby, or back."""
        if not self.is_diverted:
            self.divert()
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

    def divert(self) -> None:
        """Sends requests to the standby when the active version's circuit is open and the standby is well."""
        if not self._is_on:
            return
        try:
            home, standby = self._router.active(), self._router.standby()
        except RouterError:
            return
        if state_of(home) is not CircuitState.OPEN or not self._is_healthy(standby):
            return
        self._diverted_from, self._diverted_at = home, time()
        self._router.divert(standby)
        self._publish(home.version)
        logger.error("failover: %s is down, requests go to %s, which is healthy", home.name, standby.name)

    def _return(self, home: Target) -> None:
        """Sends requests back; the first one that fails there opens the circuit again."""
        self._diverted_from = None
        try_again(home)
        self._router.divert(home)
        logger.warning("failover: %s is healthy again, requests go back to it", home.name)

    def _is_healthy(self, target: Target) -> bool:
        last = self._last_probe(target)
        is_well = state_of(target) is not CircuitState.OPEN
        return last is not None and last.ok and is_well and not target.is_stopped

    def _has_recovered(self, home: Target) -> bool:
        last = self._last_probe(home)
        return last is not None and last.ok and last.at > self._diverted_at

    def _last_probe(self, target: Target) -> Probe | None:
        probes = self._probes(target.version)
        return probes[-1] if probes else None


def try_again(target: Target) -> None:
    """There is reason to believe that a version has recovered: its next request will show."""
    for one in (target, *(target.backends.targets if target.backends is not None else ())):
        if one.circuit is not None:
            one.circuit.try_again()


def state_of(target: Target) -> CircuitState:
    """What is known about a version by its answers."""
    if target.backends is not None:
        return CircuitState.OPEN if target.backends.are_down else CircuitState.CLOSED
    return CircuitState.CLOSED if target.circuit is None else target.circuit.state
