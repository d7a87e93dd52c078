from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.address import Address
from app.settings.tables.app_settings import AppConfig
from app.upstream import probe as probing
from app.upstream.probe import BODY_START_BYTES, ProbeResult, probe

Behaviour = Callable[[socket.socket], None]


@contextmanager
def server(behaviour: Behaviour) -> Iterator[tuple[int, list[bytes]]]:
    """A server that reads one request's head and then behaves as told; gives its port and what it got."""
    seen: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            seen.append(head)
            try:
                behaviour(connection)
            except ConnectionError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], seen
        finally:
            thread.join(10)
    assert not thread.is_alive()


def says(*parts: bytes) -> Behaviour:
    def behaviour(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return behaviour


def ask(behaviour: Behaviour, app: AppConfig | None = None) -> ProbeResult:
    with server(behaviour) as (port, _):
        return probe(Address("127.0.0.1", port), app or AppConfig(health_timeout=10))


def test_a_good_answer_is_healthy_and_shows_who_answered() -> None:
    result = ask(says(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'))
    assert (result.ok, result.status, result.reason) == (True, 200, "")
    assert result.body_start == b'{"status":"ok"}'
    assert 0 < result.latency_ms < 10_000


def test_the_configured_path_and_host_are_asked() -> None:
    app = AppConfig(health_path="/up?deep=1", health_host="shop.example")
    with server(says(b"HTTP/1.1 204 No Content\r\n\r\n")) as (port, seen):
        assert probe(Address("127.0.0.1", port), app).ok
    assert seen[0].startswith(b"GET /up?deep=1 HTTP/1.1\r\nHost: shop.example\r\n")
    assert b"Connection" not in seen[0], "the version would close first, and its port would remember it"


def test_host_defaults_to_the_address() -> None:
    with server(says(b"HTTP/1.1 204 No Content\r\n\r\n")) as (port, seen):
        probe(Address("127.0.0.1", port), AppConfig())
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in seen[0]


def test_a_redirect_is_reported_and_not_followed() -> None:
    result = ask(says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/login\r\nContent-Length: 0\r\n\r\n"))
    assert (result.ok, result.status, result.location) == (True, 302, "http://127.0.0.1:1/login")


def test_expected_statuses_decide() -> None:
    app = AppConfig(health_statuses="200-299, 401")
    assert ask(says(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"), app).ok
    refused = ask(says(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), app)
    assert (refused.ok, refused.reason) == (False, "status 302, expected 200-299, 401")


def test_a_server_error_keeps_its_body_for_the_report() -> None:
    result = ask(says(b"HTTP/1.1 500 Oops\r\nContent-Length: 8\r\n\r\nno db :("))
    assert (result.ok, result.status, result.body_start) == (False, 500, b"no db :(")
    assert result.reason == "status 500, expected 200-399"


def test_early_hints_are_not_the_answer() -> None:
    result = ask(says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"))
    assert (result.status, result.body_start) == (503, b"no")


def test_only_the_first_bytes_of_a_large_body_are_read() -> None:
    result = ask(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x" * 100_000))
    assert result.ok
    assert 0 < len(result.body_start) <= BODY_START_BYTES


def test_nothing_listening_is_said_with_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = probe(Address("127.0.0.1", port), AppConfig())
    assert (result.ok, result.status, result.reason) == (False, None, f"nothing listens on port {port}")


def trickle(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 10_000:
        connection.sendall(bytes([byte]))
        time.sleep(0.01)


def wait_for_close(connection: socket.socket) -> None:
    connection.recv(1)


def head_only(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    connection.recv(1)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (wait_for_close, "no complete answer within 0.2 s"),
        (trickle, "no complete answer within 0.2 s"),
        (head_only, "status 200, but no complete answer within 0.2 s"),
    ],
)
def test_the_timeout_is_a_deadline_for_the_whole_probe(behaviour: Behaviour, reason: str) -> None:
    result = ask(behaviour, AppConfig(health_timeout=0.2))
    assert (result.ok, result.reason) == (False, reason)
    assert 200 <= result.latency_ms < 5_000


def test_a_deadline_that_passes_between_two_steps_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter((0.0, 1.0, 6.0, 6.0))  # begin, before sending, before receiving, end
    with server(wait_for_close) as (port, _), monkeypatch.context() as patch:
        patch.setattr(probing, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        result = probe(Address("127.0.0.1", port), AppConfig())
    assert (result.reason, result.latency_ms) == ("no complete answer within 5 s", 6000.0)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (says(), "the connection was closed before the answer was complete"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "not an HTTP answer: b'SSH-2.0-OpenSSH_9.2"),
        (
            says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            "status 200, but the answer's chunks are broken",
        ),
        (
            says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            "status 200, but the answer broke off: 9 bytes missing",
        ),
    ],
)
def test_an_unusable_answer_is_unhealthy_with_its_reason(behaviour: Behaviour, reason: str) -> None:
    result = ask(behaviour)
    assert not result.ok
    assert result.reason.startswith(reason)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_whatever_is_answered_never_raises(answer: bytes) -> None:
    result = ask(says(b"HTTP/1.1 200 OK\r\n" + answer))
    assert result.ok == (result.reason == "")


def test_unix_socket_that_nobody_has_made_is_one_where_nothing_listens(tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    assert probe(Address(str(path)), AppConfig()).reason == f"nothing listens on {path}"
