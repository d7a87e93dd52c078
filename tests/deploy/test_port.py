"""The port of a version that is to start: kept by what is left of a former server, or given away by the kernel."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path

import pytest

from app.deploy.events import Launched, Noted
from app.deploy.processes import port_use
from app.deploy.processes.port_use import can_listen, given_away_text, kept_by
from app.deploy.run import port_wait
from app.operator_errors import ProcessError, UnhealthyVersion
from tests.deploy.rehearsal import Rehearsal
from tests.support.router_process import free_port
from tests.support.waiting import wait_until

RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"


def unused_port() -> int:
    """A free port that has not even connections in TIME-WAIT, of another test."""
    while kept_by(port := free_port()):
        pass
    return port


@pytest.fixture(autouse=True)
def unused_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.deploy.rehearsal.free_port", unused_port)


def accepted(port: int, *, reuse: bool, address: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """Both ends, client's and server's, of a connection of a server that has gone."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        server.bind((address, port))
        server.listen()
        client = socket.create_connection((address, port))
        return client, server.accept()[0]


def leave_time_wait(port: int, *, reuse: bool, address: str = "127.0.0.1") -> None:
    """What a server leaves that closes its connections first."""
    client, server = accepted(port, reuse=reuse, address=address)
    server.close()
    client.recv(1)
    client.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_time_wait_of_a_server_without_reuse_keeps_the_port(address: str) -> None:
    port = unused_port()
    assert (can_listen(address, port), kept_by(port)) == (True, "")
    leave_time_wait(port, reuse=False, address=address)
    assert not can_listen(address, port)
    assert re.fullmatch(r"1 connection of a former server \(TIME-WAIT\), free in [56]\d s", kept_by(port))


def test_time_wait_of_a_server_with_reuse_is_no_obstacle() -> None:
    port = unused_port()
    leave_time_wait(port, reuse=True)
    assert can_listen("127.0.0.1", port)


def test_draining_connections_keep_the_port_and_are_named_without_a_time() -> None:
    port = unused_port()
    first, second = accepted(port, reuse=True), accepted(port, reuse=True)
    first[1].shutdown(socket.SHUT_WR)
    second[0].close()
    try:
        wait_until(lambda: kept_by(port) == "2 connections of a former server (CLOSE-WAIT, FIN-WAIT-2)", "both", 5)
    finally:
        for end in (*first, *second):
            end.close()


def test_start_waits_until_connections_of_a_former_server_have_ended(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path)
    port = rehearsal.ports["blue"]
    client, server = accepted(port, reuse=False)

    def end() -> None:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.close()

    timer = threading.Timer(0.5, end)
    timer.start()
    try:
        rehearsal.deployer().start("blue")
    finally:
        timer.join()
        client.close()
        rehearsal.deployer().stop("blue", force=True)
    text = f"port {port} of blue has 1 connection of a former server (ESTABLISHED): waiting until it is free"
    events = rehearsal.events
    assert events.index(Noted(text, True)) < events.index(rehearsal.seen(Launched)[0])


def test_start_says_what_keeps_a_port_that_does_not_come_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_wait, "_PORT_WAIT_S", 0.3)
    rehearsal = Rehearsal(tmp_path)
    port = rehearsal.ports["blue"]
    leave_time_wait(port, reuse=False)
    with pytest.raises(
        ProcessError, match=rf"port {port} of blue is not free .* \(TIME-WAIT\), free in \d+ s"
    ) as refused:
        rehearsal.deployer().start("blue")
    assert refused.value.hint == f"sudo ss -tanp 'sport = :{port}'   # whose they are"
    assert rehearsal.version("blue").status == "stopped"


def test_application_without_reuse_learns_what_is_in_its_way(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path)
    (tmp_path / "exclusive").touch()
    port = rehearsal.ports["blue"]
    leave_time_wait(port, reuse=True)
    with pytest.raises(
        UnhealthyVersion, match=r"; its port has 1 connection of a former server \(TIME-WAIT\), free in"
    ):
        rehearsal.deployer().start("blue")


# --- what the kernel gives to outgoing connections ------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel that gives away 32768 to 60999 and spares none."""
    monkeypatch.setattr(port_use, "_RANGE", tmp_path / "range")
    monkeypatch.setattr(port_use, "_RESERVED", tmp_path / "reserved")
    (tmp_path / "range").write_text("32768\t60999\n")
    (tmp_path / "reserved").write_text("\n")
    return tmp_path


def test_ports_that_the_kernel_gives_away_are_named_with_what_mends_it(kernel: Path) -> None:
    assert given_away_text({"blue": 5005, "green": 32767, "the router": 61000}) is None
    assert given_away_text({"blue": 40005, "green": 5006, "the router": 60999}) == (
        "port 40005 of blue, port 60999 of the router: any outgoing connection of this machine may get it from the "
        "kernel, which gives 32768 to 60999",
        "sudo sysctl -w net.ipv4.ip_local_reserved_ports=40005,60999",
    )


def test_reserved_ports_are_spared_and_kept(kernel: Path) -> None:
    (kernel / "reserved").write_text("40000-40010,50000\n")
    assert given_away_text({"blue": 40005, "green": 50000}) is None
    found = given_away_text({"blue": 40011})
    assert found is not None
    assert found[1] == "sudo sysctl -w net.ipv4.ip_local_reserved_ports=40000-40010,50000,40011"


def test_unknown_kernel_is_not_blamed(kernel: Path) -> None:
    (kernel / "range").unlink()
    assert given_away_text({"blue": 40005}) is None


def test_start_warns_of_a_port_that_the_kernel_gives_away(tmp_path: Path, kernel: Path) -> None:
    rehearsal = Rehearsal(tmp_path)
    (kernel / "range").write_text("1024 65535\n")
    rehearsal.deployer().start("blue")
    rehearsal.deployer().stop("blue", force=True)
    warned = [note.text for note in rehearsal.seen(Noted) if note.warns and "ip_local_reserved_ports" in note.text]
    assert len(warned) == 1
    assert f"port {rehearsal.ports['blue']} of blue" in warned[0]
