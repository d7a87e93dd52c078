"""The bounded pool of a worker's connections to one port."""

from __future__ import annotations

from collections import deque
from typing import Any

from gevent import get_hub, getcurrent

from app.errors import PoolExhausted
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint, connect
from app.transport.limits import Expired
from app.upstream.connection import UpstreamConnection
from app.upstream.fresh import open_connection

__all__ = ["ConnectionPool"]


class _Turn:
    """A request that waits for its turn, and what it got."""

    __slots__ = ("connection", "greenlet", "has_come")

    def __init__(self, greenlet: Any) -> None:
        self.greenlet = greenlet
        self.connection: UpstreamConnection | None = None
        self.has_come = False


class ConnectionPool:
    """At most `size` connections of one worker to one port; idle ones are used again, the last one first.

    An idle connection is watched: when the version closes it, or says something unasked, it is dropped at once.

    Args:
        port: the version's port on loopback.
        size: most connections, idle ones included.
        connecting: how long connecting may take, and waiting for a place.
        idle_s: how long a connection may be idle; 0 keeps none.
    """

    def __init__(self, port: int, size: int, connecting: Deadlines, idle_s: float) -> None:
        self.port = port
        self._size = size
        self._connecting = connecting
        self._keeps = idle_s > 0
        self._open = 0
        self._idle: dict[Endpoint, UpstreamConnection] = {}
        self._idle_deadlines = Deadlines(idle_s, self._drop)
        self._waiting: deque[_Turn] = deque()

    def acquire(self, fresh: bool = False) -> UpstreamConnection:
        """The connection used last, else a new one; a new one when it must be `fresh`.

        Raises PoolExhausted when all are in use and none comes free in time, UpstreamConnectError and
        UpstreamConnectTimeout.
        """
        idle = self._idle
        if idle and not fresh:
            endpoint, connection = idle.popitem()
            self._idle_deadlines.discard(endpoint)
            endpoint.unwatch_idle()
            return connection
        if self._open >= self._size:
            if idle:
                self._drop(next(iter(idle)))
            else:
                handed_over = self._wait_for_turn()
                if handed_over is not None and not fresh:
                    return handed_over
                if handed_over is not None:
                    self.discard(handed_over)
        self._open += 1
        try:
            return open_connection(self.port, connect, self._connecting)
        except BaseException:
            self._free_place()
            raise

    def release(self, connection: UpstreamConnection) -> None:
        """Takes back a connection on which an exchange has ended cleanly."""
        if not self._keeps:
            self.discard(connection)
            return
        connection.reused = True
        if self._waiting:
            self._wake_next(connection)
            return
        endpoint = connection.endpoint
        self._idle[endpoint] = connection
        self._idle_deadlines.add(endpoint)
        endpoint.watch_idle(self._drop)

    def discard(self, connection: UpstreamConnection) -> None:
        """Closes a connection that nobody may use again; more than once is harmless."""
        if not connection.endpoint.closed:
            connection.close()
            self._free_place()

    def close_idle(self) -> None:
        """Closes every idle connection: the port has been given to another process."""
        for endpoint in list(self._idle):
            self._drop(endpoint)

    def _drop(self, endpoint: Endpoint) -> None:
        connection = self._idle.pop(endpoint, None)
        if connection is not None:
            self._idle_deadlines.discard(endpoint)
            self.discard(connection)

    def _free_place(self) -> None:
        self._open -= 1
        self._wake_next(None)

    def _wake_next(self, connection: UpstreamConnection | None) -> None:
        """Lets the request that has waited longest go on: with a connection, or with the place for a new one."""
        if self._waiting:
            turn = self._waiting.popleft()
            turn.connection = connection
            turn.has_come = True
            if connection is None:
                self._open += 1  # kept for it until it runs
            get_hub().loop.run_callback(turn.greenlet.switch)

    def _wait_for_turn(self) -> UpstreamConnection | None:
        """Waits for a connection, or (None) for a place. Raises PoolExhausted."""
        turn = _Turn(getcurrent())
        self._waiting.append(turn)
        self._connecting.add(turn.greenlet)
        try:
            get_hub().switch()
        except BaseException as error:
            self._give_up(turn)
            if isinstance(error, Expired):
                raise PoolExhausted(f"all {self._size} connections to port {self.port} are in use") from error
            raise
        finally:
            self._connecting.discard(turn.greenlet)
        if turn.connection is None:
            self._open -= 1  # the caller counts it again
        return turn.connection

    def _give_up(self, turn: _Turn) -> None:
        """Leaves the queue; a turn that came at the same moment goes to the next."""
        if not turn.has_come:
            self._waiting.remove(turn)
        elif turn.connection is None:
            self._free_place()
        else:
            self.release(turn.connection)
