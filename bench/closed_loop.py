"""A load generator for machines without wrk: `python -m bench.closed_loop PORT PATH SECONDS CONNECTIONS`.

Each connection sends its next request when the answer to the last is complete. One process, one epoll loop;
prints one line of JSON with the fields of `Load`. It saturates a proxy that costs some 20 µs a request or more.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass

__all__ = ["Load", "percentile", "run_load"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_RECEIVE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Load:
    """What a load generator saw: whole answers, failures, seconds, and latencies in microseconds."""

    requests: int
    errors: int
    seconds: float
    p50_us: float
    p99_us: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all are not above; 0 without values."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


class _Client:
    """One connection: how answers are to begin, when it sent, and how much is missing (-1: the head)."""

    __slots__ = ("begins", "head", "missing", "sent_at", "sock")

    def __init__(self, port: int, begins: bytes) -> None:
        self.begins = begins
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = b""
        self.missing = -1
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self.head = b""
        self.missing = -1
        self.sent_at = time.perf_counter()
        self.sock.sendall(request)

    def receive(self) -> bool:
        """Whether the answer is complete now. Raises OSError, ValueError for one that was not to come."""
        data = self.sock.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("closed")
        if self.missing < 0:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return False
            length = _LENGTH.search(self.head, 0, end + 2)
            if length is None or not self.head.startswith(self.begins):
                raise ValueError(self.head[:60])
            self.missing = int(length[1]) + end + 4 - len(self.head)
        else:
            self.missing -= len(data)
        return not self.missing


def run_load(
    port: int,
    path: str,
    seconds: float,
    connections: int,
    fields: Sequence[str] = (),
    *,
    begins: bytes = b"HTTP/1.1 200",
) -> Load:
    """Loads one server with requests of these field lines; an answer that does not begin so is an error.

    Raises OSError when it does not take the first connections.
    """
    lines = "".join(f"{field}\r\n" for field in fields)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}\r\n".encode()
    latencies_us, errors = array("d"), 0
    with select.epoll() as epoll:
        clients: dict[int, _Client] = {}

        def open_one() -> None:
            client = _Client(port, begins)
            clients[client.sock.fileno()] = client
            epoll.register(client.sock, select.EPOLLIN)
            client.send(request)

        for _ in range(connections):
            open_one()
        began = time.perf_counter()
        ends = began + seconds
        while time.perf_counter() < ends:
            for number, _ in epoll.poll(0.1):
                client = clients[number]
                try:
                    if client.receive():
                        latencies_us.append((time.perf_counter() - client.sent_at) * 1e6)
                        client.send(request)
                except (OSError, ValueError):
                    errors += 1
                    del clients[number]
                    client.sock.close()
                    open_one()
        took = time.perf_counter() - began
        for client in clients.values():
            client.sock.close()
    return Load(len(latencies_us), errors, took, percentile(latencies_us, 0.5), percentile(latencies_us, 0.99))


def main() -> None:
    """Runs one load and prints it."""
    port, path, seconds, connections, *fields = sys.argv[1:]
    print(json.dumps(asdict(run_load(int(port), path, float(seconds), int(connections), fields))))


if __name__ == "__main__":
    main()
