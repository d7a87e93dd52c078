"""The second chance of a request whose version refused it: hold it, and send it when that can help and do no harm."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from app.config import RouterConfig
from app.errors import (
    CircuitOpen,
    RouterError,
    UpstreamConnectError,
    UpstreamError,
    UpstreamReset,
)
from app.proxy.budget import RetryBudget
from app.proxy.door import Door
from app.proxy.flight import Flight, Recorder
from app.proxy.hold import HoldExpired, WaitingRoom
from app.proxy.outages import Outages
from app.router import Target, TrafficRouter
from app.upstream.messages import UpstreamAnswer, UpstreamRequest

__all__ = ["Rescue"]

FIRST_LOOK_S = 0.02
LAST_LOOK_S = 0.25
"""A version that is down is asked whether it takes connections after this long, then after twice as long, …"""

SETTLED_S = 2.0
"""A restart passes through "stopped" for as long as a process manager takes to run the command anew, up to a second
on a busy machine; a version that has been stopped for this long is."""


class Rescue:
    """Holds the requests of one worker while their version is down.

    Args:
        config: the settings.
        router: knows where requests go.
        door: lays a claim anew, through a pause if there is one by then.
        outages: is told of every failure.
        budget: what may be sent once more.
        recorder: counts held requests and retries.
    """

    def __init__(
        self,
        config: RouterConfig,
        router: TrafficRouter,
        door: Door,
        outages: Outages,
        budget: RetryBudget,
        recorder: Recorder,
    ) -> None:
        self._hold_s = config.hold_timeout
        self._router = router
        self._door = door
        self._outages = outages
        self._budget = budget
        self._recorder = recorder
        self.room = WaitingRoom(config.hold_queue, config.resume_rate, self._may_go, recorder.hold)
        self._down: Target | None = None
        self._look_at = 0.0  # monotonic seconds
        self._look_gap_s = FIRST_LOOK_S

    def send_again(
        self,
        flight: Flight,
        message: UpstreamRequest,
        error: UpstreamError,
        compose: Callable[[Target], UpstreamRequest],
    ) -> UpstreamAnswer:
        """Sends a request again until a version answers, which need not be the one that failed.

        Args:
            flight: the request; its claim is given back while it waits.
            message, error: the attempt that failed, and how.
            compose: writes the request for a version.

        Raises the error of the last attempt when nothing more can be done, HoldQueueFull, ClientDisconnected,
        and what laying a claim raises.
        """
        began = monotonic()
        held_s = 0.0
        try:
            while True:
                self._outages.failed(flight.target)
                self._check_can_wait(flight, error)
                waits_from = monotonic()
                left_s = began + self._hold_s - waits_from
                if left_s <= 0:
                    raise error
                self.room.check_space()  # who is turned away is not held
                try:
                    self._wait(flight, left_s, error)
                finally:
                    held_s += monotonic() - waits_from
                message = self._next_attempt(message, flight.target, compose)
                self._recorder.count_retry(flight.target.version)
                flight.depart()
                try:
                    return flight.target.send(message)
                except UpstreamError as next_error:
                    error = next_error
        finally:
            if held_s:
                self._recorder.count_held(flight.target.version, int(held_s * 1e6))

    def _check_can_wait(self, flight: Flight, error: UpstreamError) -> None:
        """Raises what the client is told when waiting is of no use, or sending again might do harm."""
        target = flight.target
        if not self._hold_s or flight.is_preview:
            raise error
        if isinstance(error, UpstreamReset):
            if not (error.may_be_repeated and self._budget.take()):
                raise error
        elif not isinstance(error, UpstreamConnectError) or self._is_gone(target):
            raise error
        elif self._is_given_up(target):
            raise CircuitOpen(f"{target.name} refuses connections for {target.circuit.failing_for_s:.0f} s") from error

    def _is_gone(self, target: Target) -> bool:
        return target.is_stopped and self._router.seen_for_s > SETTLED_S

    def _is_given_up(self, target: Target) -> bool:
        circuit = target.circuit
        is_down = circuit is not None and circuit.is_open and circuit.failing_for_s > self._hold_s
        return is_down and not target.is_starting

    def _wait(self, flight: Flight, seconds: float, error: UpstreamError) -> None:
        """Waits without a claim, then lays a new one. Raises `error` when the time is over."""
        self._note_down(flight.target)
        request = flight.request
        flight.release()
        try:
            self.room.wait(request.endpoint, request.started_us, seconds)
            flight.claimed(*self._door.claim(request, flight.request_id, is_held=True))
        except BaseException as reason:
            flight.claim_again()
            if isinstance(reason, HoldExpired):
                raise error from reason
            raise

    def _next_attempt(
        self, message: UpstreamRequest, target: Target, compose: Callable[[Target], UpstreamRequest]
    ) -> UpstreamRequest:
        again = compose(target)
        again.continue_from(message)
        return again

    # --- when those that wait may go ----------------------------------------------------------------------

    def _note_down(self, target: Target) -> None:
        if self._down is not target:
            self._look_gap_s = FIRST_LOOK_S
        self._down = target
        self._look_at = monotonic() + self._look_gap_s

    def _may_go(self) -> bool:
        """Whether requests may be sent on: somewhere else than to who failed, or there because it takes connections."""
        try:
            target = self._router.target()
        except RouterError:
            return True  # they find out by themselves what it is
        if self._down is None or target is not self._down or self._is_gone(target):
            return True
        if monotonic() < self._look_at:
            return False
        return self._takes_connections(target)

    def _takes_connections(self, target: Target) -> bool:
        """One connection attempt for all that wait."""
        try:
            self._router.session(target.port).reach()
        except RouterError:
            self._outages.failed(target)
            self._look_gap_s = min(2 * self._look_gap_s, LAST_LOOK_S)
            self._look_at = monotonic() + self._look_gap_s
            return False
        if self._down is target:
            self._down = None
        return True
