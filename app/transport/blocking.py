"""One end of a connection for plain Python: it blocks its thread, and gevent is not imported."""

from __future__ import annotations

import socket
import time

from app.address import Address
from app.transport.limits import Expired, Limit
from app.transport.loopback import family_of, refuse_itself

__all__ = ["QUEUE_FULL_S", "BlockingEndpoint", "connect_blocking"]

RECEIVE_BYTES = 65536

QUEUE_FULL_S = 0.005
"""How soon to try again at a Unix socket whose queue is full: nothing tells when there is room in it (unix(7))."""


class BlockingEndpoint:
    """The part of `Endpoint` that one exchange without a client connection needs; the same names do the same."""

    __slots__ = ("_sock", "buffered", "closed")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.buffered = b""
        self.closed = False

    def read(self, limit: Limit, size: int = RECEIVE_BYTES) -> bytes:
        """Waits for the next bytes from the socket, b"" at the end; what is in `buffered` came before them.

        Raises Expired, and OSError when the connection was reset.
        """
        self._sock.settimeout(limit.seconds or None)
        try:
            data = self._sock.recv(size)
        except TimeoutError as error:
            raise Expired(limit) from error
        return data

    def send_some(self, data: bytes) -> int:
        """Sends what the socket takes now and returns how much that was."""
        self._sock.settimeout(None)
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def send(self, data: bytes, limit: Limit) -> None:
        """Sends all of `data`. Raises Expired, and OSError when the peer is gone."""
        self._sock.settimeout(limit.seconds or None)
        try:
            self._sock.sendall(data)
        except TimeoutError as error:
            raise Expired(limit) from error

    def close(self) -> None:
        """Closes the socket; again is harmless."""
        self.closed = True
        self._sock.close()


def connect_blocking(address: Address, limit: Limit) -> BlockingEndpoint:
    """Connects. Raises OSError when refused or unreachable, and Expired."""
    # Not `create_connection`: its look-up of the address takes longer than the connection.
    sock = socket.socket(family_of(address.host))
    try:
        sock.settimeout(limit.seconds or None)
        if address.is_unix:
            _connect_to_path(sock, address.host, limit)
        else:
            sock.connect(address)
            refuse_itself(sock, address.port)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise Expired(limit) from error
        raise
    return BlockingEndpoint(sock)


def _connect_to_path(sock: socket.socket, path: str, limit: Limit) -> None:
    ends = time.monotonic() + limit.seconds
    while True:
        try:
            sock.connect(path)
        except BlockingIOError:  # the queue is full, and unlike TCP the kernel does not wait when there is a timeout
            if time.monotonic() > ends:
                raise TimeoutError from None
            time.sleep(QUEUE_FULL_S)
        else:
            return
