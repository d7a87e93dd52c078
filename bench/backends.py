"""Backends that take their time: `python -m bench.backends JOURNAL PORT=MS[/1]...`, several ports in one process.

Each port waits so many milliseconds with an answer, at least, and serves others meanwhile; with `/1` it has one
request at a time, the others in the order in which they came. One epoll loop, because what a thread or a coroutine
costs would hide what the proxies do.

    /served     how many requests each port has taken so far, as JSON, at once; does not count itself
    POST /ID    is executed when it has been received: a line "PID /ID" in JOURNAL, unless that is "-"
"""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.processes import ROOT, Server, running

__all__ = ["Backends", "run_backends", "served"]

NO_JOURNAL = "-"
TEXT = b"Hello world\n"

_RECEIVE_BYTES = 1 << 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class _Port:
    """A backend: its socket, its delay, the answers it owes in the order in which they are due, what it has served."""

    __slots__ = ("delay_s", "due", "is_serial", "listener", "served")

    def __init__(self, listener: socket.socket, delay_s: float, is_serial: bool) -> None:
        self.listener = listener
        self.delay_s = delay_s
        self.is_serial = is_serial
        self.due: deque[tuple[float, socket.socket]] = deque()
        self.served = 0

    def owe(self, sock: socket.socket) -> None:
        """Takes a request, whose answer goes to `sock` in its time."""
        begins = self.due[-1][0] if self.is_serial and self.due else time.monotonic()
        self.due.append((begins + self.delay_s, sock))
        self.served += 1


class _Connection:
    """A connection of a proxy, and what of a request is there so far."""

    __slots__ = ("port", "received", "sock")

    def __init__(self, sock: socket.socket, port: _Port) -> None:
        self.sock = sock
        self.port = port
        self.received = b""


class Backends:
    """Answers at several ports until the process ends."""

    def __init__(self, ports: Sequence[_Port], journal: str = NO_JOURNAL) -> None:
        self._ports = {port.listener.fileno(): port for port in ports}
        self._connections: dict[int, _Connection] = {}
        self._epoll = select.epoll()
        self._journal = -1 if journal == NO_JOURNAL else os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for number, port in self._ports.items():
            port.listener.setblocking(False)
            self._epoll.register(number, select.EPOLLIN)

    def serve_for_ever(self) -> None:
        """The loop."""
        while True:
            for number, _ in self._epoll.poll(self._patience_s()):
                port = self._ports.get(number)
                if port is not None:
                    self._accept(port)
                    continue
                connection = self._connections[number]
                try:
                    self._receive(connection)
                except OSError:
                    self._close(connection)
            self._answer_what_is_due()

    def _patience_s(self) -> float | None:
        """Until the next answer is due; None when none is owed."""
        due = [port.due[0][0] for port in self._ports.values() if port.due]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _accept(self, port: _Port) -> None:
        with suppress(BlockingIOError):
            sock, _ = port.listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = _Connection(sock, port)
            self._epoll.register(sock, select.EPOLLIN)

    def _close(self, connection: _Connection) -> None:
        del self._connections[connection.sock.fileno()]
        connection.sock.close()

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(_RECEIVE_BYTES)
        if not data:
            self._close(connection)
            return
        received = connection.received = connection.received + data
        end = received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = _LENGTH.search(received, 0, end)
        if len(received) >= end + (int(length[1]) if length else 0):
            connection.received = b""  # a proxy does not send ahead
            self._take(connection, received)

    def _take(self, connection: _Connection, request: bytes) -> None:
        method, path, _ = request.split(b" ", 2)
        if path == b"/served":
            counts = {port.listener.getsockname()[1]: port.served for port in self._ports.values()}
            connection.sock.send(_answer(json.dumps(counts).encode()))
            return
        if method == b"POST" and self._journal >= 0:
            os.write(self._journal, b"%d %b\n" % (os.getpid(), path))
        connection.port.owe(connection.sock)

    def _answer_what_is_due(self) -> None:
        now = time.monotonic()
        for port in self._ports.values():
            while port.due and port.due[0][0] <= now:
                with suppress(OSError):  # the proxy has gone meanwhile
                    port.due.popleft()[1].send(_SMALL)


def _answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: origin\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


_SMALL = _answer(TEXT)


@contextmanager
def run_backends(
    folder: Path,
    delays_ms: Mapping[int, float],
    cores: frozenset[int],
    journal: str = NO_JOURNAL,
    is_serial: bool = False,
) -> Iterator[Server]:
    """Backends at these ports in a process of their own until the block is left; the server's port is the first."""
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(delays_ms))
    ports = [f"{port}={delay_ms}{'/1' * is_serial}" for port, delay_ms in delays_ms.items()]
    command = [sys.executable, "-m", "bench.backends", journal, *ports]
    with running(f"backend-{first}", command, first, folder, cores, cwd=ROOT) as server:
        yield server


def served(server: Server) -> dict[int, int]:
    """How many requests each port of such a process has taken so far."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", "/served")
        return {int(port): count for port, count in json.load(connection.getresponse()).items()}
    finally:
        connection.close()


def main() -> None:
    """Listens on the ports given until it is ended."""
    journal, *ports = sys.argv[1:]
    served_at = []
    for port, _, takes in (each.partition("=") for each in ports):
        listener = socket.create_server(("127.0.0.1", int(port)), backlog=4096)
        served_at.append(_Port(listener, float(takes.removesuffix("/1")) / 1e3, takes.endswith("/1")))
    Backends(served_at, journal).serve_for_ever()


if __name__ == "__main__":
    main()
