"""The bounded pool of a worker's connections to one backend."""

from __future__ import annotations

from collections import deque
from math import inf
from time import monotonic

from gevent import Timeout
from gevent.event import AsyncResult

from app.address import Address
from app.errors import PoolExhausted
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint, connect
from app.upstream.fresh import open_connection
from app.upstream.upstream_connection import UpstreamConnection

__all__ = ["ConnectionPool"]

_NEAR = 0.9
"""From which part of its time on an idle connection is too old for a request that cannot be sent again."""


class ConnectionPool:
    """At most `size` connections of one worker to one backend; idle ones are used again, the last one first.

    A connection that becomes a tunnel's is counted no more. An idle connection is watched: when the version
    closes it, or says something unasked, it is dropped at once.

    Args:
        address: where it listens.
        size: most connections, idle ones included.
        connecting: how long connecting may take, and waiting for a place.
        idle_s: how long a connection may be idle; 0 keeps none.
    """

    def __init__(self, address: Address, size: int, connecting: Deadlines, idle_s: float) -> None:
        self._address = address
        self._size = size
        self._connecting = connecting
        self._may_keep = self._keeps = idle_s > 0
        self._open = 0
        self._idle: dict[Endpoint, UpstreamConnection] = {}
        self._idle_deadlines = Deadlines(idle_s, self._drop)
        self._waiting: deque[AsyncResult] = deque()
        self._closes_after_s = inf  # what the version is seen to keep an idle connection for

    def acquire(self, fresh: bool = False) -> UpstreamConnection:
        """The connection used last, else a new one; a new one when it must be `fresh`.

        Raises PoolExhausted when all are in use and none comes free in time, UpstreamConnectError and
        UpstreamConnectTimeout.
        """
        idle = self._idle
        if idle and not fresh:
            return self._take()
        if self._open < self._size:
            self._open += 1
            return self._open_in_place()
        if idle:
            self._drop(next(iter(idle)))
            self._open += 1
            return self._open_in_place()
        handed_over = self._wait_for_turn()
        if handed_over is None:
            return self._open_in_place()
        if fresh:
            handed_over.close()  # its place is ours
            return self._open_in_place()
        return handed_over

    def take_idle(self) -> UpstreamConnection | None:
        """The connection used last, without a wait; None when none is idle."""
        return self._take() if self._idle else None

    def _take(self) -> UpstreamConnection:
        endpoint, connection = self._idle.popitem()
        self._idle_deadlines.discard(endpoint)
        endpoint.unwatch_idle()
        return connection

    def _open_in_place(self) -> UpstreamConnection:
        """Opens a connection whose place is already counted."""
        try:
            return open_connection(self._address, connect, self._connecting)
        except BaseException:
            self._free_place()
            raise

    def release(self, connection: UpstreamConnection) -> None:
        """Takes back a connection on which an exchange has ended cleanly."""
        if not self._keeps:
            self.discard(connection)
            return
        connection.reused = True
        connection.idle_since = monotonic()
        if self._waiting:
            self._waiting.popleft().set(connection)
            return
        endpoint = connection.endpoint
        self._idle[endpoint] = connection
        self._idle_deadlines.add(endpoint)
        endpoint.watch_idle(self._ended)

    def is_doubtful(self, connection: UpstreamConnection) -> bool:
        """Whether the version may be closing this open connection just now, as it did others that were idle as long."""
        idle_s = monotonic() - connection.idle_since
        is_near = idle_s > _NEAR * self._closes_after_s
        # A restart closes them early: what is open for longer tells that it was no habit.
        self._closes_after_s = max(self._closes_after_s, idle_s)
        return is_near

    def discard(self, connection: UpstreamConnection) -> None:
        """Closes a connection that nobody may use again; more than once is harmless."""
        if not connection.endpoint.closed:
            connection.close()
            self._free_place()

    def part_with(self, connection: UpstreamConnection) -> None:
        """Frees the place of a connection that has become a tunnel's, which closes it."""
        self._free_place()

    def keep_idle(self, keeps: bool) -> None:
        """Keeps connections from now on, or closes every idle one and those in use at their end: the version ends.

        Who closes a connection first has the kernel remember it on his port. That is to be ours: a server that does
        not set SO_REUSEADDR could not listen again.
        """
        self._keeps = keeps and self._may_keep
        if not keeps:
            for endpoint in list(self._idle):
                self._drop(endpoint)

    def _ended(self, endpoint: Endpoint) -> None:
        """The version has closed an idle connection, or says something unasked."""
        connection = self._idle.get(endpoint)
        if connection is not None:
            self._closes_after_s = min(self._closes_after_s, monotonic() - connection.idle_since)
        self._drop(endpoint)

    def _drop(self, endpoint: Endpoint) -> None:
        connection = self._idle.pop(endpoint, None)
        if connection is not None:
            self._idle_deadlines.discard(endpoint)
            self.discard(connection)

    def _free_place(self) -> None:
        if self._waiting:
            self._waiting.popleft().set(None)  # the place for one
        else:
            self._open -= 1

    def _wait_for_turn(self) -> UpstreamConnection | None:
        """Waits for a connection, or (None) for a place, which is ours from then on. Raises PoolExhausted."""
        turn = AsyncResult()
        self._waiting.append(turn)
        try:
            handed_over: UpstreamConnection | None = turn.get(timeout=self._connecting.seconds)
            return handed_over
        except BaseException as error:
            if not turn.ready():
                self._waiting.remove(turn)
            elif turn.value is not None:  # it came at the moment we gave up
                self.release(turn.value)
            else:
                self._free_place()
            if isinstance(error, Timeout):
                raise PoolExhausted(f"all {self._size} connections to {self._address.spot} are in use") from error
            raise
