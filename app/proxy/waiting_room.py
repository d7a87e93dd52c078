"""Requests that wait until they may go on: first in first out, each with an eye on its client."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic
from typing import Any, ClassVar

import gevent
from gevent.event import Event

from app.errors import ClientDisconnected, HoldQueueFull
from app.transport.endpoint import Endpoint
from app.upstream.exchange import PIPELINED_BYTES

__all__ = ["HoldExpired", "HoldRoom", "Pace", "WaitingRoom"]

TICK_S = 0.01
"""How often it is looked whether requests may go on; what nobody notices."""


class HoldExpired(Exception):
    """A request has waited for as long as it may."""


class Pace:
    """How many may go now, so that there are `rate` of them a second and the first one need not wait."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._credit = 1.0
        self._last: float | None = None

    def due(self, now: float) -> int:
        """How many may go at `now`, monotonic seconds, besides those that went before."""
        if self._last is not None:
            self._credit += (now - self._last) * self._rate
        self._last = now
        due = int(self._credit)
        self._credit -= due
        return due


class _Waiting:
    """One request that waits."""

    __slots__ = ("_client", "has_expired", "has_left", "has_turn", "is_over", "turn")

    def __init__(self, client: Endpoint | None) -> None:
        self._client = client
        self.turn = Event()
        self.has_expired = False
        self.has_left = False
        self.has_turn = False
        self.is_over = False

    def wait(self, seconds: float | None) -> None:
        """Waits for its turn. Raises HoldExpired, ClientDisconnected."""
        client = self._client
        if client is not None:
            client.watch_idle(self._look)
        try:
            if not self.turn.wait(seconds) or self.has_expired:
                raise HoldExpired
        finally:
            self.is_over = True
            if client is not None:
                client.unwatch_idle()
        # The loop may not have come round to what happened last.
        if self.has_left or (client is not None and client.peer_has_left()):
            raise ClientDisconnected("the client left while its request was held")

    def _look(self, client: Endpoint) -> None:
        """Runs in the hub: takes in what the client sends ahead, up to a bound, or finds that it has left."""
        try:
            data = client.receive()
        except OSError:
            data = b""
        if data == b"":
            self.has_left = True
            self.turn.set()
            return
        client.buffered += data or b""
        if len(client.buffered) <= PIPELINED_BYTES:
            client.watch_idle(self._look)


class WaitingRoom:
    """Where the requests of one worker wait for one thing; its kinds say for what, and how many may.

    Attributes:
        on_their_way: how many have their turn and have not gone on yet.
    """

    _LONGEST_TICK_S: ClassVar[float] = TICK_S
    """How seldom it is looked at last while nobody may go on."""

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, _Waiting]] = []
        self._numbers = count()
        self._size = 0
        self.on_their_way = 0
        self._doorman: Any = None  # the greenlet that lets them go; gevent has no types

    def __len__(self) -> int:
        return self._size

    @property
    def oldest_us(self) -> int:
        """When the first one in the queue arrived; 0 without one."""
        queue = self._queue
        while queue and queue[0][2].is_over:
            heappop(queue)
        return queue[0][0] if queue else 0

    # --- what a kind says ---------------------------------------------------------------------------------

    def check_space(self) -> None:
        """Raises HoldQueueFull when nobody else may be held."""

    def _begin(self) -> None:
        """The first one has come."""

    def _due(self) -> int:
        """How many may go now; asked every few milliseconds while there are any. It may wait itself."""
        raise NotImplementedError

    def _noted(self, change: int) -> None:
        """One has come to wait (1), or one has gone (-1)."""

    # --- the wait -----------------------------------------------------------------------------------------

    def wait(self, client: Endpoint | None, arrived_us: int, seconds: float | None = None) -> None:
        """Waits for a turn.

        Args:
            client: who is watched meanwhile; None when a stock gunicorn worker has the connection.
            arrived_us: decides about the place in the queue, also of one that had its turn and is back.
            seconds: the longest wait; None is without end.

        Raises HoldQueueFull, HoldExpired, ClientDisconnected.
        """
        self.check_space()
        waiting = _Waiting(client)
        heappush(self._queue, (arrived_us, next(self._numbers), waiting))
        self._size += 1
        self._noted(1)
        if not self._doorman:  # a greenlet that has ended is false
            self._doorman = gevent.spawn(self._let_go)
        try:
            waiting.wait(seconds)
        finally:
            self._size -= 1
            self.on_their_way -= waiting.has_turn
            self._forget_the_gone()
            self._noted(-1)

    def _forget_the_gone(self) -> None:
        """A long pause with clients that come and go must not fill the queue with those that went."""
        if len(self._queue) > 2 * self._size + 64:
            self._queue = [entry for entry in self._queue if not entry[2].is_over]
            heapify(self._queue)

    def send_away(self) -> None:
        """Ends every wait at once: who waits raises HoldExpired."""
        for _, _, waiting in self._queue:
            waiting.has_expired = True
            waiting.turn.set()

    def _let_go(self) -> None:
        self._begin()
        tick_s = TICK_S
        while self._queue:
            tick_s = TICK_S if self._let_due_go() else min(2 * tick_s, self._LONGEST_TICK_S)
            gevent.sleep(tick_s)

    def _let_due_go(self) -> int:
        """Lets those go that may; returns how many may."""
        due = self._due() if self._queue else 0
        for _ in range(due):
            self._let_first_go()
        return due

    def _let_first_go(self) -> None:
        while self._queue:
            waiting = heappop(self._queue)[2]
            if not waiting.is_over:
                waiting.has_turn = True
                self.on_their_way += 1
                waiting.turn.set()
                return


class HoldRoom(WaitingRoom):
    """Where requests wait for the end of a pause, or for a version that is down, to go on at a bounded rate.

    Args:
        limit: how many may wait.
        rate: how many are let go each second once they may.
        may_go: whether they may; it may wait itself.
        note: is told 1 when one comes to wait, and -1 when it goes.
    """

    def __init__(
        self, limit: int, rate: float, may_go: Callable[[], bool], note: Callable[[int], None] = lambda change: None
    ) -> None:
        super().__init__()
        self._limit = limit
        self._note = note
        self._rate = rate
        self._may_go = may_go
        self._pace = Pace(rate)

    def check_space(self) -> None:
        """Raises HoldQueueFull when nobody else may wait."""
        if len(self) >= self._limit:
            raise HoldQueueFull(f"{len(self)} requests are waiting already")

    def _begin(self) -> None:
        self._pace = Pace(self._rate)

    def _due(self) -> int:
        if self._may_go():
            return self._pace.due(monotonic())
        self._begin()
        return 0

    def _noted(self, change: int) -> None:
        self._note(change)
