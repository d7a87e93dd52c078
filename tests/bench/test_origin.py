"""The origin and the load generator against each other, through a router where that says more."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.closed_loop import run_load
from bench.echo_load import open_websocket, run_echo
from bench.origin import SIZES, run_origin
from bench.processes import Cores, Server
from bench.router import router, worker_figures, write_state


@pytest.fixture(scope="module")
def cores() -> Cores:
    return Cores.chosen()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, cores: Cores) -> Iterator[Server]:
    with run_origin(tmp_path_factory.mktemp("origin"), cores, "here\n") as server:
        yield server


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, cores: Cores, origin: Server) -> Iterator[Server]:
    with router(tmp_path_factory.mktemp("router"), origin.port, cores.proxy) as server:
        yield server


def ask(port: int, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, int]:
    """Status and length of an answer, its body read piece by piece."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body)
        answer, length = connection.getresponse(), 0
        while piece := answer.read(1 << 20):
            length += len(piece)
        return answer.status, length
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/64k", "/1m"])
def test_bodies_have_the_size_they_are_named_for(origin: Server, path: str) -> None:
    assert ask(origin.port, path) == (200, SIZES[path])


def test_a_long_body_is_sent_in_pieces(origin: Server) -> None:
    assert ask(origin.port, "/1g") == (200, 1 << 30)


def test_a_request_with_a_body_is_answered_once_it_is_read(origin: Server) -> None:
    assert ask(origin.port, "/", "POST", b"x" * 300_000) == (200, 5)


def test_load_is_answered_without_errors(proxied: Server) -> None:
    load = run_load(proxied.port, "/64k", 0.3, 4)

    assert load.requests > 0
    assert load.errors == 0
    assert 0 < load.p50_us <= load.p99_us


def test_an_answer_that_is_not_200_is_an_error(proxied: Server) -> None:
    assert run_load(proxied.port, "/__router_nothing", 0.1, 1).errors > 0


def test_messages_come_back_through_the_tunnel(proxied: Server) -> None:
    assert run_echo(proxied.port, 0.3, 3)["messages"] > 3


def test_a_refused_upgrade_is_an_error(origin: Server, cores: Cores, tmp_path: Path) -> None:
    with router(tmp_path, origin.port, cores.proxy) as server:
        (tmp_path / "bg_state.json").write_text('{"active_version": null}')
        with pytest.raises(ConnectionError, match="no upgrade: b'HTTP/1.1 503"):
            open_websocket(server.port)


def test_a_replaced_state_moves_the_next_request(origin: Server, cores: Cores, tmp_path: Path) -> None:
    with (
        run_origin(tmp_path / "green", cores, "somewhere else\n") as green,
        router(tmp_path / "router", origin.port, cores.proxy) as server,
    ):
        before = ask(server.port, "/")
        write_state(tmp_path / "router", origin.port, green.port, "green")

        assert (before, ask(server.port, "/")) == ((200, 5), (200, 15))


def test_a_workers_requests_are_read_from_the_metrics(proxied: Server) -> None:
    before = [worker["requests"] for worker in worker_figures(proxied.port)]
    ask(proxied.port, "/")

    assert [worker["requests"] for worker in worker_figures(proxied.port)] == [before[0] + 1]
