"""Connections without a pool, and what every source of connections must do."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Protocol

from app.address import Address
from app.errors import OutOfDescriptors, UpstreamConnectError, UpstreamConnectTimeout
from app.transport.limits import Expired, Limit
from app.upstream.upstream_connection import UpstreamConnection

__all__ = ["Connect", "Connections", "FreshConnections", "open_connection"]

Connect = Callable[[Address, Any], Any]
"""`app.transport.endpoint.connect` or `app.transport.blocking.connect_blocking`."""


class Connections(Protocol):
    """Where the adapter gets its connections."""

    def acquire(self, fresh: bool = False) -> UpstreamConnection:
        """A connection; a new one when it must be `fresh`."""

    def take_idle(self) -> UpstreamConnection | None:
        """A connection that is there, without a wait; None when there is none."""

    def release(self, connection: UpstreamConnection) -> None:
        """Ends the use of a connection that may be used again."""

    def discard(self, connection: UpstreamConnection) -> None:
        """Ends the use of a connection that nobody may use again."""

    def is_doubtful(self, connection: UpstreamConnection) -> bool:
        """Whether a connection that is used again may be closed before a request arrives."""

    def keep_idle(self, keeps: bool) -> None:
        """Whether connections are kept from now on; those that are idle are closed when not."""

    def part_with(self, connection: UpstreamConnection) -> None:
        """Forgets a connection that somebody else closes: a tunnel is not one of a version's request slots."""


def open_connection(address: Address, connect: Connect, limit: Limit) -> UpstreamConnection:
    """A new connection to a backend. Raises UpstreamConnectError, UpstreamConnectTimeout, OutOfDescriptors."""
    try:
        return UpstreamConnection(connect(address, limit))
    except Expired as error:
        raise UpstreamConnectTimeout(f"no connection to {address.spot} within {limit.seconds:g} s") from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise OutOfDescriptors(f"no connection to {address.spot}: {error.strerror}") from error
        raise UpstreamConnectError(f"no connection to {address.spot}: {error.strerror}") from error


class FreshConnections:
    """A new connection for each exchange: for plain Python, where no loop could watch an idle one."""

    def __init__(self, address: Address, connect: Connect, limit: Limit) -> None:
        self._address = address
        self._connect = connect
        self._limit = limit

    def acquire(self, fresh: bool = False) -> UpstreamConnection:
        """A new one. Raises UpstreamConnectError, UpstreamConnectTimeout."""
        return open_connection(self._address, self._connect, self._limit)

    def take_idle(self) -> UpstreamConnection | None:
        """None is ever kept."""
        return None

    def release(self, connection: UpstreamConnection) -> None:
        """Closes it."""
        connection.close()

    def discard(self, connection: UpstreamConnection) -> None:
        """Closes it."""
        connection.close()

    def is_doubtful(self, connection: UpstreamConnection) -> bool:
        """Never: it is not used again."""
        return False

    def keep_idle(self, keeps: bool) -> None:
        """None is ever kept."""

    def part_with(self, connection: UpstreamConnection) -> None:
        """Nothing to forget."""
