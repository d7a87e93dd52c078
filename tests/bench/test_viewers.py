"""Viewers that count, and what is said of turns that nobody had to measure."""

from __future__ import annotations

import socket
import threading

import pytest

from bench.viewers import Turn, difference, viewers
from tests.support.waiting import wait_until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def serve(listener: socket.socket, head: bytes, times: int) -> None:
    """Answers so many viewers with a head and events until it goes."""
    for _ in range(times):
        viewer, _ = listener.accept()
        with viewer:
            viewer.recv(4096)
            viewer.sendall(head)
            while not _has_gone(viewer):
                viewer.sendall(b"id: 1\ndata: {}\n\n")


def _has_gone(viewer: socket.socket) -> bool:
    viewer.settimeout(0.02)
    try:
        return not viewer.recv(1)
    except TimeoutError:
        return False


def test_viewers_count_what_they_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener, HEAD, 1), daemon=True)
        server.start()
        with viewers(listener.getsockname()[1], 1) as events:
            wait_until(lambda: events() >= 3, "three events")
        server.join(5)


def test_viewer_that_is_refused_ends_the_benchmark() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener, b"HTTP/1.1 503 Busy\r\n\r\n", 1), daemon=True).start()
        with pytest.raises(RuntimeError, match="refused"), viewers(listener.getsockname()[1], 1):
            pass


def test_difference_is_taken_round_by_round() -> None:
    rounds = [
        {"alone": Turn(cost, 1.0, 1.0, 0), "watched": Turn(cost * 1.1, 1.0, 1.0, 0)} for cost in (50.0, 80.0, 100.0)
    ]

    assert difference(rounds, "watched", "alone", "cpu_us_per_request") == "+10.0 % (+10.0 … +10.0 %)"
