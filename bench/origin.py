"""The server behind every proxy: `python -m bench.origin PORT [TEXT]`, one process on one epoll loop.

It costs a few microseconds a request, so that the proxies are what is measured, and needs nothing installed.

    /        TEXT, 12 bytes by default, to any method; every unknown path as well
    /64k     /1m     /1g      bodies of these sizes
    Upgrade: websocket        101, then every byte comes back as it was
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.processes import ROOT, Cores, Server, free_port, running

__all__ = ["SIZES", "Origin", "run_origin"]

SIZES = {"/64k": 64 << 10, "/1m": 1 << 20, "/1g": 1 << 30}

_PIECE = 1 << 20
_RECEIVE_BYTES = 1 << 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_KEY = re.compile(rb"\r\nsec-websocket-key: *(\S+)\r\n", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def _head(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: origin\r\nContent-Length: %d\r\n\r\n" % length


class _Connection:
    """One connection of a proxy.

    Attributes:
        received: bytes of a request that is not complete yet.
        unsent: what the socket did not take at once.
        pieces_left: how often a whole piece still follows `unsent`.
        is_tunnel: it has been upgraded; bytes are echoed.
        skip: bytes of a request's body still to come.
    """

    __slots__ = ("is_tunnel", "pieces_left", "received", "skip", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.unsent = memoryview(b"")
        self.pieces_left = 0
        self.is_tunnel = False
        self.skip = 0


class Origin:
    """Answers on a listening socket until the process ends."""

    def __init__(self, listener: socket.socket, text: bytes = b"Hello world\n") -> None:
        self._listener = listener
        self._piece = memoryview(os.urandom(_PIECE))
        self._answers = {path: _head(size) + self._piece[: min(size, _PIECE)] for path, size in SIZES.items()}
        self._pieces_left = {path: size // _PIECE - 1 for path, size in SIZES.items() if size > _PIECE}
        self._small = _head(len(text)) + text
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}

    def serve_for_ever(self) -> None:
        """The loop."""
        listener = self._listener
        listener.setblocking(False)
        self._epoll.register(listener, select.EPOLLIN)
        while True:
            for number, events in self._epoll.poll():
                connection = self._connections.get(number)
                if connection is None:
                    self._accept()
                    continue
                try:
                    if events & select.EPOLLOUT:
                        self._send_rest(connection)
                    else:
                        self._receive(connection)
                except OSError:
                    self._close(connection)

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = _Connection(sock)
            self._epoll.register(sock, select.EPOLLIN)

    def _close(self, connection: _Connection) -> None:
        del self._connections[connection.sock.fileno()]
        connection.sock.close()

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(_RECEIVE_BYTES)
        if not data:
            self._close(connection)
        elif connection.is_tunnel:
            self._send(connection, data)
        else:
            connection.received += data
            self._answer_all(connection)

    def _answer_all(self, connection: _Connection) -> None:
        """Answers what is complete; the proxies do not send ahead, so an answer is never in the way of the next."""
        while connection.received:
            if connection.skip:
                skipped = min(connection.skip, len(connection.received))
                connection.skip -= skipped
                connection.received = connection.received[skipped:]
                if not connection.skip:
                    self._send(connection, self._small)
                continue
            end = connection.received.find(b"\r\n\r\n")
            if end < 0:
                return
            head, connection.received = connection.received[: end + 4], connection.received[end + 4 :]
            self._answer(connection, head)

    def _answer(self, connection: _Connection, head: bytes) -> None:
        if head.startswith(b"GET / "):
            self._send(connection, self._small)
            return
        length, key = _LENGTH.search(head), _KEY.search(head)
        path = head.split(b" ", 2)[1].decode("latin-1")
        if length is not None and int(length[1]):
            connection.skip = int(length[1])
        elif key is not None:
            connection.is_tunnel = True
            accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
            lines = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
            self._send(connection, b"HTTP/1.1 101 Switching Protocols\r\n" + lines)
        else:
            connection.pieces_left = self._pieces_left.get(path, 0)
            self._send(connection, self._answers.get(path, self._small))

    def _send(self, connection: _Connection, data: bytes) -> None:
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data) or connection.pieces_left:
            connection.unsent = memoryview(data)[sent:]
            self._epoll.modify(connection.sock, select.EPOLLOUT)

    def _send_rest(self, connection: _Connection) -> None:
        if not connection.unsent and connection.pieces_left:
            connection.pieces_left -= 1
            connection.unsent = self._piece
        sent = connection.sock.send(connection.unsent)
        connection.unsent = connection.unsent[sent:]
        if not connection.unsent and not connection.pieces_left:
            self._epoll.modify(connection.sock, select.EPOLLIN)


@contextmanager
def run_origin(folder: Path, cores: Cores, text: str = "Hello world\n") -> Iterator[Server]:
    """The origin as a process of its own, on the load's core, until the block is left."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "bench.origin", str(port), text]
    with running("origin", command, port, folder, cores.load, cwd=ROOT) as server:
        yield server


def main() -> None:
    """Listens on the port given until it is ended."""
    text = sys.argv[2].encode() if len(sys.argv) > 2 else b"Hello world\n"
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096) as listener:
        Origin(listener, text).serve_for_ever()


if __name__ == "__main__":
    main()
