"""What the client connections of one worker share."""

from __future__ import annotations

import socket
from collections import Counter
from logging import getLogger
from typing import Any, Self

from app.errors import RouterError, TooManyConnections
from app.notices import Notices
from app.proxy.client_request import request_parser
from app.proxy.service import Service
from app.server.client_connection import ClientConnection, Wsgi
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint

__all__ = ["Serving"]

logger = getLogger(__name__)

IDLE_GRACE_S = 2.0
"""How long a worker that stops still takes a request on an idle connection, to answer it with `Connection: close`."""

_LAST_LINES_S = 2.0
"""How long a worker that ends waits for who reads its access log from a pipe."""

_ROOM = 16
"""How many idle connections end at a time when there is no room for new ones."""


class Serving:
    """What all client connections of a worker share.

    Attributes:
        wsgi: the application for clients.
        config, forwarder, timeouts: of the application's service.
        parser: reads the heads of requests.
        idle, heads, lingering: deadlines for the next request, for a head, and for a goodbye.
        is_stopping: the worker accepts no more connections.
        shares: what the workers know of each other's connections.
        keeps_alive: connections may carry another request.
        own_prefixes: what the paths of our own pages begin with, perhaps among others.
        ordinary_bytes: no part of a head of up to so many bytes is too long.
    """

    @classmethod
    def of(cls, wsgi: Any) -> Self | None:
        """For the router's application; None for any other, which gunicorn's own loop serves."""
        service = getattr(wsgi, "service", None)
        return cls(wsgi, service) if isinstance(service, Service) else None

    def __init__(self, wsgi: Any, service: Service) -> None:
        config = service.config
        self.wsgi: Wsgi = wsgi.wsgi_app  # what Flask's own __call__ would call
        self._admin_wsgi: Wsgi = wsgi.admin_app
        self._stop_endless = wsgi.stop
        self.config = config
        self.forwarder = service.forwarder
        self.timeouts = service.timeouts
        self.parser = request_parser(config)
        self.idle = Deadlines(config.keepalive_timeout or config.head_timeout)
        self.heads = Deadlines(config.head_timeout)
        self.lingering = Deadlines(1.0)
        self.is_stopping = False
        self.keeps_alive = config.keepalive_timeout > 0
        self.shares = service.metrics.shares(service.slot)
        self.own_prefixes = wsgi.own_prefixes
        service.recording.follow(lambda is_on: self._leave_lane(is_on, wsgi.own_prefixes))
        self.ordinary_bytes = config.max_request_line_bytes
        # What limits a request as a whole ends it in a greenlet.
        self._has_lane = config.lane and not service.forwarder.limits_total
        self._service = service
        self._notices = Notices(logger)
        self._slot = service.slot
        self._before = service.slot.requests()
        self._connections: set[ClientConnection] = set()
        self._by_address: Counter[str] = Counter()

    @property
    def requests(self) -> int:
        """How many requests this worker has begun to serve."""
        return self._slot.requests() - self._before

    def serve(self, sock: socket.socket, peer: str) -> None:
        """Serves one accepted connection of the address `peer` to its end."""
        self._serve(ClientConnection(Endpoint(sock), peer, self, self.wsgi, self._has_lane), peer)

    def serve_admin(self, sock: socket.socket, peer: str) -> None:
        """The same at `admin_bind`, where there is nothing but the router's own endpoints."""
        self._serve(ClientConnection(Endpoint(sock), peer, self, self._admin_wsgi), peer)

    def is_admin(self, listener: socket.socket) -> bool:
        """Whether a listener is that of `admin_bind`, whoever has opened it."""
        host, _, port = self.config.admin_bind.rpartition(":")
        return bool(host) and listener.getsockname()[1] == int(port)

    def _serve(self, connection: ClientConnection, peer: str) -> None:
        self._connections.add(connection)
        self._by_address[peer] += 1
        try:
            limit = self.config.max_client_connections
            if limit and self._by_address[peer] > limit:
                error = TooManyConnections(f"{peer} holds {limit} connections")
                self._notices.say(f"a connection is turned away: {error} (max_client_connections)")
                connection.turn_away(error)
            else:
                connection.serve()
        finally:
            self._connections.discard(connection)
            if not self.is_stopping:
                self.shares.publish(len(self._connections))
            self._by_address[peer] -= 1
            if not self._by_address[peer]:
                del self._by_address[peer]

    def refuse(self, sock: socket.socket, peer: str, error: RouterError) -> None:
        """Answers a connection that cannot be served with the error, and ends it."""
        ClientConnection(Endpoint(sock), peer, self, self.wsgi).turn_away(error)

    def make_room(self) -> None:
        """Ends a few of the connections that have waited longest for their next request."""
        self.idle.end_oldest(_ROOM)

    def reopen_access_log(self) -> None:
        """Writes on in the file that has the configured name now. Raises ConfigError and goes on in the old one."""
        if self._service.records.access_log is not None:
            self._service.records.access_log.reopen()

    def _leave_lane(self, is_on: bool, own_prefixes: tuple[bytes, ...]) -> None:
        # What is recorded needs the ordinary way, to which the application's dispatch belongs.
        self.own_prefixes = (b"",) if is_on else own_prefixes

    def finish_access_log(self) -> None:
        """Writes what is left of it: the worker ends."""
        if self._service.records.access_log is not None:
            self._service.records.access_log.finish(_LAST_LINES_S)

    def keep_no_connection(self, limit_s: float = 30.0) -> None:
        """From now on every answer is its connection's last, and what has no end is ended within `limit_s`.

        Connections that wait for their next request, and those whose answer has promised that they may, wait on for
        a moment: whoever is about to send learns from the answer that the connection ends.
        """
        self.is_stopping = True
        self.idle.shorten(min(IDLE_GRACE_S, limit_s / 2))
        self.shares.withdraw()
        self._service.records.long_lived.leave(self._service.handover.within(limit_s))
        self.keeps_alive = False
        self._stop_endless()
        for connection in self._connections:
            connection.finish()

    @property
    def holds_for_s(self) -> float:
        """How long a pause still keeps requests of this worker waiting, in seconds; 0 when it keeps none."""
        return self._service.admission.holds_for_s

    def end_holds(self) -> None:
        """Answers the requests that wait for the end of a pause: they cannot be served here any more."""
        self._service.admission.close()

    def cut_off(self) -> None:
        """Answers or resets whatever is still under way: the worker does not wait any longer."""
        for connection in self._connections:
            connection.cut_off()
