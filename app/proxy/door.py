"""What stands before a claim when traffic does not simply flow: a pause that is waited out, or maintenance."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from math import ceil
from time import monotonic, time

from app.config import RouterConfig
from app.errors import RouterError, TrafficPaused, UnderMaintenance
from app.proxy.client import ClientRequest
from app.proxy.flight import Recorder
from app.proxy.hold import HoldExpired, WaitingRoom
from app.proxy.maintenance import MaintenancePage
from app.router import NO_VERSION, Target, TrafficRouter

__all__ = ["Door"]


class Door:
    """Lays the claims of one worker's requests, those included that first have to wait.

    Args:
        config: the settings.
        router: knows the state.
        recorder: counts held requests.
        health_path: answered while maintenance is on, for balancers that would else take the router out.
    """

    def __init__(self, config: RouterConfig, router: TrafficRouter, recorder: Recorder, health_path: str) -> None:
        self._router = router
        self._recorder = recorder
        self._health_path = health_path.encode()
        self._page = MaintenancePage(config.maintenance_page)
        self.room = WaitingRoom(config.hold_queue, config.resume_rate, self._is_resumed, recorder.hold)
        self._is_closed = False  # nobody can wait here any more

    def claim(
        self, request: ClientRequest, request_id: bytes, of_standby: bool = False, is_held: bool = False
    ) -> tuple[int, Target]:
        """A claim on the active version or the standby, once there is no pause.

        `is_held`: the caller counts the request as held, with whatever it waits here.

        Raises NoActiveVersion, UnderMaintenance, HoldQueueFull, ClientDisconnected, and TrafficPaused once
        nobody can wait any more.
        """
        router, head = self._router, request.head
        pick = router.standby if of_standby else router.target
        while True:
            try:
                return router.claim_on(pick, head.method, head.target, request.started_us, request_id)
            except TrafficPaused:
                self._wait(request, counts=not is_held)
            except UnderMaintenance as error:
                if not self._lets_pass(request):
                    error.template = self._page.template()
                    raise
                pick = router.past_maintenance

    def is_health_check(self, request: ClientRequest) -> bool:
        """Whether a balancer asks for the application's health."""
        return request.head.target.partition(b"?")[0] == self._health_path and request.head.method in (b"GET", b"HEAD")

    @property
    def holds_for_s(self) -> float:
        """How long requests are still to wait here, in seconds; 0 when none waits for the end of a pause."""
        return self._pause_left_s() if len(self.room) else 0.0

    def close(self) -> None:
        """Answers those that wait, and all that would: their worker ends before the pause does."""
        self._is_closed = True
        self.room.send_away()

    def _wait(self, request: ClientRequest, counts: bool) -> None:
        if self._is_closed:
            raise self._turned_away()
        self.room.check_space()  # who is turned away is not held
        began = monotonic()
        try:
            self.room.wait(request.endpoint, request.started_us)
        except HoldExpired:
            raise self._turned_away() from None
        finally:
            if counts:
                self._recorder.count_held(NO_VERSION, int((monotonic() - began) * 1e6))

    def _turned_away(self) -> TrafficPaused:
        error = TrafficPaused("the router is being stopped")
        error.retry_after_s = ceil(self._pause_left_s())
        return error

    def _pause_left_s(self) -> float:
        state, now = self._router.seen, time()
        pause = state.pause if state is not None else None
        return pause.until - now if pause is not None and pause.holds(now) else 0.0

    def _is_resumed(self) -> bool:
        try:
            self._router.target()
        except TrafficPaused:
            return False
        except RouterError:
            pass  # they find out by themselves what it is
        return True

    def _lets_pass(self, request: ClientRequest) -> bool:
        state = self._router.seen
        if state is None or state.maintenance is None:
            return True  # it was ended a moment ago
        try:
            address = ipaddress.ip_address(request.client_address)
        except ValueError:
            return False
        parsed = getattr(address, "ipv4_mapped", None) or address
        return any(parsed in network for network in _networks(state.maintenance.allow))


@lru_cache(maxsize=8)
def _networks(allow: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(network) for network in allow]
