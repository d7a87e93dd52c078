"""The WebSocket clients of a measurement: `python -m bench.echo_load PORT SECONDS CONNECTIONS`.

Each sends a small masked text frame and waits until it has come back, byte for byte; the origin echoes bytes,
because a server that takes frames apart would be slower and flatter the tunnel. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from array import array

from bench.closed_loop import percentile

__all__ = ["FRAME", "open_websocket", "run_echo"]

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

_PAYLOAD = 32
FRAME = bytes((0x81, 0x80 | _PAYLOAD)) + os.urandom(4 + _PAYLOAD)
"""FIN and text; masked, 32 bytes; the mask and the payload (RFC 6455 §5.2)."""


def open_websocket(port: int) -> socket.socket:
    """A connection that has been upgraded. Raises ConnectionError when that is refused, OSError."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(HANDSHAKE)
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.recv(4096)
        answer += data
        if not data:
            break
    if not answer.startswith(b"HTTP/1.1 101 "):
        connection.close()
        raise ConnectionError(f"no upgrade: {answer[:60]!r}")
    return connection


def run_echo(port: int, seconds: float, connections: int) -> dict[str, float]:
    """Messages that came back, seconds, and the round trip's p50 and p99 in µs. Raises ConnectionError."""
    sockets = [open_websocket(port) for _ in range(connections)]
    by_number = {connection.fileno(): connection for connection in sockets}
    sent_at, missing = {}, {}
    round_trips_us = array("d")
    with select.epoll() as epoll:
        for number, connection in by_number.items():
            epoll.register(connection, select.EPOLLIN)
            sent_at[number], missing[number] = time.perf_counter(), len(FRAME)
            connection.sendall(FRAME)
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            for number, _ in epoll.poll(0.1):
                connection = by_number[number]
                data = connection.recv(missing[number])
                if not data or not FRAME.endswith(data):
                    raise ConnectionError(f"not the echo of what was sent: {data[:60]!r}")
                missing[number] -= len(data)
                if missing[number]:
                    continue
                now = time.perf_counter()
                round_trips_us.append((now - sent_at[number]) * 1e6)
                sent_at[number], missing[number] = now, len(FRAME)
                connection.sendall(FRAME)
        took = time.perf_counter() - began
    for connection in sockets:
        connection.close()
    p50, p99 = percentile(round_trips_us, 0.5), percentile(round_trips_us, 0.99)
    return {"messages": len(round_trips_us), "seconds": took, "p50_us": p50, "p99_us": p99}


def main() -> None:
    """Runs one load and prints it."""
    port, seconds, connections = sys.argv[1:]
    print(json.dumps(run_echo(int(port), float(seconds), int(connections))))


if __name__ == "__main__":
    main()
