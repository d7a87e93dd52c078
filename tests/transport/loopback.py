"""A connected pair on loopback: our endpoint at one end, a plain blocking socket at the other."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from app.address import Address
from app.transport.endpoint import Endpoint


def connected() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    far.settimeout(10)
    return near, far


@contextlib.contextmanager
def endpoint_and_peer() -> Iterator[tuple[Endpoint, socket.socket]]:
    """An `Endpoint` and its peer, both closed at the end."""
    near, far = connected()
    endpoint = Endpoint(near)
    try:
        yield endpoint, far
    finally:
        endpoint.close()
        far.close()


def reset(sock: socket.socket) -> None:
    """Ends a connection with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive_to_end(sock: socket.socket) -> bytes:
    """Everything until the end of the stream."""
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    return b"".join(parts)


@contextlib.contextmanager
def full_listener() -> Iterator[Address]:
    """The address of a listener that takes no more connections: further attempts wait for an answer in vain."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield Address(*listener.getsockname())


def closed_address() -> Address:
    """An address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Address(*listener.getsockname())
