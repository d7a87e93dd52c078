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
        self._waiting: deque[Any] = deque()  # greenlets; gevent has no types

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
                self._wait_for_place()
        self._open += 1
        try:
            return open_connection(self.port, connect, self._connecting)
        except BaseException:
            self._free_place()
            raise

    def release(self, connection: UpstreamConnection) -> None:
        """Takes back a connection on which an exchange has ended cleanly."""
        if self._waiting or not self._keeps:
            self.discard(connection)
            return
        connection.reused = True
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
        if self._waiting:
            get_hub().loop.run_callback(self._waiting.popleft().switch)

    def _wait_for_place(self) -> None:
        while self._open >= self._size:
            current = getcurrent()
            self._waiting.append(current)
            self._connecting.add(current)
            try:
                get_hub().switch()
            except BaseException as error:
                if current in self._waiting:
                    self._waiting.remove(current)
                else:  # woken and ended at the same moment: the place goes to the next
                    self._pass_on()
                if isinstance(error, Expired):
                    raise PoolExhausted(
                        f"all {self._size} connections to port {self.port} are in use"
                    ) from error
                raise
            finally:
                self._connecting.discard(current)

    def _pass_on(self) -> None:
        if self._waiting:
            get_hub().loop.run_callback(self._waiting.popleft().switch)
