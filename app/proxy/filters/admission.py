"""The last filter: a claim on the version that the request goes to, or a wait for the end of a pause or for room."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import ceil
from time import time

from app.errors import RouterError, TrafficPaused
from app.proxy.backend_queue import BackendQueue
from app.proxy.chain import Verdict, Wait
from app.proxy.transaction import Recorder, Transaction
from app.proxy.waiting_room import HoldRoom
from app.routing.router import NO_VERSION, TrafficRouter
from app.routing.targets import Choice
from app.settings.tables.router_settings import RouterConfig

__all__ = ["Admission"]


class Admission:
    """Lays the claims of one worker's requests.

    Args:
        config: the settings.
        router: knows the state, and chooses the version.
        recorder: counts those that wait.
        queues: where requests wait for room on the backends of a version, by its index; none without a limit.

    Attributes:
        room: where requests wait for the end of a pause.
    """

    def __init__(
        self, config: RouterConfig, router: TrafficRouter, recorder: Recorder, queues: Sequence[BackendQueue] = ()
    ) -> None:
        self._router = router
        self._queues = queues
        self.room = HoldRoom(config.hold.hold_queue, config.hold.resume_rate, self._is_resumed, recorder.hold)
        self._paused = Wait(self.room, partial(recorder.count_held, NO_VERSION))
        self._is_closed = False

    def __call__(self, transaction: Transaction) -> Verdict:
        """Claims what an earlier filter has chosen, or the active version."""
        router, pick = self._router, transaction.pick
        request = transaction.request
        head = request.head
        try:
            if pick is None:
                claim = router.claim(head.method, head.target, request.started_us, transaction.request_id)
            else:
                claim = router.claim_on(pick, head.method, head.target, request.started_us, transaction.request_id)
        except TrafficPaused as error:
            if not self._is_closed:
                return self._paused
            error.retry_after_s = ceil(self._pause_left_s())
            return error
        except RouterError as refusal:
            return refusal
        transaction.row, target = claim
        transaction.target = target
        return None if target.backends is None else self._choose(transaction, target.backends)

    def _choose(self, transaction: Transaction, backends: Choice) -> Verdict:
        """One of a version's backends; a wait, without the claim, where each has as many requests as it may have."""
        request, tried = transaction.request, transaction.tried
        queue = self._queues[transaction.target.version] if backends.limit else None
        if queue is None or not queue.is_anothers_turn(transaction):
            if tried is None or tried.whole is not transaction.target or not backends.has_others(tried.backends):
                backend = backends.pick(request.head, request.forwarding, transaction.backend_cookie)
            else:
                backend = backends.another(tried.backends)
            if backend is not None:
                transaction.move_to(backend)
                return None
        assert queue is not None, "without a limit there is room"
        whole = transaction.target
        transaction.release()
        turn = queue.turn_for(transaction, whole, backends)
        if not isinstance(turn, Wait):
            transaction.target = whole  # which has it to answer for
        return turn

    @property
    def holds_for_s(self) -> float:
        """How long requests are still to wait here, in seconds; 0 when none waits for the end of a pause."""
        return self._pause_left_s() if len(self.room) else 0.0

    def close(self) -> None:
        """Answers those that wait, and all that would: their worker ends before the pause does."""
        self._is_closed = True
        self.room.send_away()

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
