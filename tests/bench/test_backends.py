"""Backends that take their time do so side by side, count, and note each POST."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.backends import run_backends, served
from bench.closed_loop import run_load
from bench.processes import Cores, Server, free_port
from tests.support.waiting import wait_until

DELAY_MS = 50.0


@pytest.fixture
def backends(tmp_path: Path) -> Iterator[Server]:
    """A backend that is slow and one that is not, in one process, whose POSTs are noted in `tmp_path`/journal."""
    ports = {free_port(): DELAY_MS, free_port(): 0.0}
    with run_backends(tmp_path, ports, Cores.chosen().load, str(tmp_path / "journal")) as server:
        yield server


def test_answers_wait_beside_one_another(backends: Server) -> None:
    load = run_load(backends.port, "/", 0.5, 8)
    assert load.errors == 0
    assert load.p50_us >= DELAY_MS * 1e3
    assert load.requests > 0.5 * 1e3 / DELAY_MS  # more than one connection can have


def test_backend_that_has_one_request_at_a_time_makes_the_others_wait(tmp_path: Path) -> None:
    with run_backends(tmp_path, {free_port(): DELAY_MS}, Cores.chosen().load, is_serial=True) as server:
        load = run_load(server.port, "/", 0.5, 4)
    assert load.p99_us >= 4 * DELAY_MS * 1e3
    assert 0 < load.requests <= load.seconds * 1e3 / DELAY_MS


def test_each_port_counts_its_own(backends: Server) -> None:
    before = served(backends)
    slow, fast = before
    run_load(fast, "/", 0.1, 2)
    after = served(backends)
    assert after[slow] == before[slow]
    assert after[fast] > before[fast]


def test_post_is_noted_once_its_body_is_there(backends: Server, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with socket.create_connection(("127.0.0.1", backends.port), timeout=5) as client:
        client.sendall(b"POST /7 HTTP/1.1\r\nHost: bench\r\nContent-Length: 2\r\n\r\n1")
        served(backends)  # it has had a turn since
        assert journal.read_text() == ""
        began = time.monotonic()
        client.sendall(b"2")
        wait_until(journal.read_text, "the line")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
        assert time.monotonic() - began >= DELAY_MS / 1e3
    assert journal.read_text() == f"{backends.pid} /7\n"


def test_client_that_leaves_early_harms_nobody(backends: Server) -> None:
    with socket.create_connection(("127.0.0.1", backends.port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
    assert run_load(backends.port, "/", 0.2, 2).errors == 0
