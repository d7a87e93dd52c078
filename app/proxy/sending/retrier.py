"""The second chance of a request whose version refused it: hold it, and send it when that can help and do no harm."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from app.errors import (
    CircuitOpen,
    PoolExhausted,
    RouterError,
    UpstreamConnectError,
    UpstreamConnectTimeout,
    UpstreamError,
    UpstreamReset,
)
from app.proxy.chain import Chain
from app.proxy.replies.reply import Reply
from app.proxy.sending.retry_budget import RetryBudget
from app.proxy.transaction import Recorder, Transaction, Tried
from app.proxy.waiting_room import HoldExpired, HoldRoom
from app.routing.circuit import Circuit
from app.routing.failover import FailureDetector
from app.routing.router import TrafficRouter
from app.routing.targets import Target
from app.settings.tables.router_settings import RouterConfig
from app.upstream.messages import UpstreamRequest, UpstreamResponse

__all__ = ["Retrier"]

FIRST_LOOK_S = 0.02
LAST_LOOK_S = 0.25
"""A version that is down is asked whether it takes connections after this long, then after twice as long, …"""

SETTLED_S = 2.0
"""A restart passes through "stopped" for as long as a process manager takes to run the command anew, up to a second
on a busy machine; a version that has been stopped for this long is."""

_UNSENT = (UpstreamConnectError, UpstreamConnectTimeout, PoolExhausted)
"""After these another backend may have any request."""


class _Attempts:
    """What one request has been through: since when, and how long it was held."""

    __slots__ = ("began", "held_s")

    def __init__(self, began: float) -> None:
        self.began = began
        self.held_s = 0.0


class Retrier:
    """Holds the requests of one worker while their version is down, and sends them again.

    Args:
        config: the settings.
        router: knows where requests go.
        chain: admits a request anew, through a pause if there is one by then.
        failures: is told of every failure.
        budget: what may be sent once more.
        recorder: counts held requests and retries.
    """

    def __init__(
        self,
        config: RouterConfig,
        router: TrafficRouter,
        chain: Chain,
        failures: FailureDetector,
        budget: RetryBudget,
        recorder: Recorder,
    ) -> None:
        self._hold_s = config.hold.hold_timeout
        self._router = router
        self._chain = chain
        self._failures = failures
        self._budget = budget
        self._recorder = recorder
        self.room = HoldRoom(config.hold.hold_queue, config.hold.resume_rate, self._may_go, recorder.hold)
        self._down: Target | None = None
        self._look_at = 0.0  # monotonic seconds
        self._look_gap_s = FIRST_LOOK_S

    def send_again(
        self,
        transaction: Transaction,
        message: UpstreamRequest,
        error: UpstreamError | PoolExhausted,
        compose: Callable[[Transaction], UpstreamRequest],
    ) -> UpstreamResponse | Reply:
        """Sends a request again until a version answers, which need not be the one that failed.

        Args:
            transaction: its claim is given back while it waits.
            message, error: the attempt that failed, and how.
            compose: writes the request for the version that is claimed.

        Returns the router's own reply where a filter has come to give one meanwhile.
        Raises the error of the last attempt when nothing more can be done, HoldQueueFull, ClientDisconnected,
        and what the filters say against it by then.
        """
        attempts = _Attempts(monotonic())
        try:
            while True:
                reply = self._find_place(transaction, error, attempts)
                if reply is not None:
                    return reply
                again = compose(transaction)
                again.continue_from(message)
                message = again
                target = transaction.target
                circuit = target.circuit
                self._recorder.count_retry(target.version)
                transaction.delayed().retries += 1
                transaction.depart()
                try:
                    response = target.send(message)
                except (UpstreamError, PoolExhausted) as next_error:
                    error = next_error
                else:
                    if circuit is not None:
                        self._failures.answered(target, circuit)
                    return response
        finally:
            if attempts.held_s:
                held_us = int(attempts.held_s * 1e6)
                self._recorder.count_held(transaction.target.version, held_us)
                transaction.delayed().held_us += held_us

    def _find_place(self, transaction: Transaction, error: RouterError, attempts: _Attempts) -> Reply | None:
        """Claims another backend, or waits until the version is back; raises `error` when neither is of any use."""
        target = transaction.target
        if isinstance(error, UpstreamError) and not (isinstance(error, UpstreamReset) and error.was_used):
            self._failures.failed(target)
            if transaction.assignment is not None:
                transaction.assignment.has_failed = True
        if self._leaves_canary(transaction, error):
            return self._admit_anew(transaction, error)
        tried = self._tried(transaction)
        backend = self._another(target, error, tried)
        if backend is not None:
            transaction.move_to(backend)
            return None
        if self._may_queue(target, error, tried):
            return self._admit_anew(transaction, error)
        self._check_can_wait(transaction, error)
        waits_from = monotonic()
        left_s = attempts.began + self._hold_s - waits_from
        if left_s <= 0:
            raise error
        self.room.check_space()  # who is turned away is not held
        try:
            self._note_down(target.whole)
            transaction.tried = None
            return self._admit_anew(transaction, error, left_s)
        finally:
            attempts.held_s += monotonic() - waits_from

    def _leaves_canary(self, transaction: Transaction, error: RouterError) -> bool:
        """Whether the canary has failed it, and the stable version may have it; if so, it is noted."""
        assignment = transaction.assignment
        if assignment is None or assignment.is_moved or not assignment.is_on_canary(transaction.target.version):
            return False
        assignment.is_moved = self._is_harmless(error)
        return assignment.is_moved

    def _is_harmless(self, error: RouterError) -> bool:
        """Whether sending it again does no harm, as far as there is something left to repeat it with."""
        if isinstance(error, UpstreamReset):
            return error.may_be_repeated and (error.was_used or self._budget.take())
        return isinstance(error, _UNSENT)

    def _tried(self, transaction: Transaction) -> set[int]:
        """The backends of the version that have refused a request, the last one included."""
        target, tried = transaction.target, transaction.tried
        if tried is None or tried.whole is not target.whole:
            tried = transaction.tried = Tried(target.whole, set())
        tried.backends.add(target.backend)
        return tried.backends

    def _another(self, target: Target, error: RouterError, tried: set[int]) -> Target | None:
        """The backend to go to at once, where the version has several and it does no harm; it counts as in flight."""
        backends = target.whole.backends
        if backends is None:
            return None
        if isinstance(error, UpstreamReset):
            if not error.may_be_repeated:
                return None
            if error.was_used:
                found = backends.another(tried)
                # Without others as if there were one backend: at once, on a new connection.
                return backends.take(target.backend) if found is None and not backends.has_others(tried) else found
            backend = backends.another(tried)
            if backend is not None and backend.leave is not None and not self._budget.take():
                backend.leave()
                return None
            return backend
        return backends.another(tried) if isinstance(error, _UNSENT) else None

    def _may_queue(self, target: Target, error: RouterError, tried: set[int]) -> bool:
        """Whether others of a version's backends could have it, had they room, and sending it again does no harm."""
        if target.whole.backends is None or not target.whole.backends.has_others(tried):
            return False
        return self._is_harmless(error)

    def _check_can_wait(self, transaction: Transaction, error: RouterError) -> None:
        """Raises what the client is told when waiting is of no use, or sending again might do harm."""
        target = transaction.target
        if not self._hold_s or transaction.is_preview:
            raise error
        if isinstance(error, UpstreamReset):
            if not (error.may_be_repeated and self._budget.take()):
                raise error
        elif not isinstance(error, UpstreamConnectError) or self._is_gone(target.whole):
            raise error
        elif target.circuit is not None and self._is_given_up(target, target.circuit):
            raise CircuitOpen(f"{target.name} refuses connections for {target.circuit.failing_for_s:.0f} s") from error

    def _admit_anew(self, transaction: Transaction, error: RouterError, hold_s: float = 0.0) -> Reply | None:
        """Gives the claim back, is held for `hold_s` seconds at most, and is admitted anew, where there is room.

        Raises `error` when the time is over.
        """
        failed, request = transaction.target.whole, transaction.request
        transaction.queued_until = 0.0
        transaction.release()
        try:
            if hold_s:
                self.room.wait(request.endpoint, request.started_us, hold_s)
            verdict = self._chain.admit(transaction, is_held=hold_s > 0)
            if isinstance(verdict, RouterError):
                raise verdict
        except BaseException as reason:
            # It has waited in vain: whoever ends it counts it on the version that it was meant for.
            transaction.claim(failed)
            if isinstance(reason, HoldExpired):
                raise error from reason
            raise
        return verdict

    def _is_gone(self, target: Target) -> bool:
        return target.is_stopped and self._router.seen_for_s > SETTLED_S

    def _is_given_up(self, target: Target, circuit: Circuit) -> bool:
        return circuit.is_open and circuit.failing_for_s > self._hold_s and not target.is_starting

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
        for one in target.backends.targets if target.backends is not None else (target,):
            try:
                self._router.session(one.address).reach()
            except RouterError:
                self._failures.failed(one)
            else:
                if self._down is target:
                    self._down = None
                return True
        self._look_gap_s = min(2 * self._look_gap_s, LAST_LOOK_S)
        self._look_at = monotonic() + self._look_gap_s
        return False
