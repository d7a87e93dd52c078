"""Where versions listen: addresses of both families, and connections that would be ones with themselves."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from app.address import Address
from app.cli.router_client import RouterClient, RouterUnreachable
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.router_settings import RouterConfig
from app.transport.blocking import connect_blocking
from app.transport.deadlines import Deadlines
from app.transport.endpoint import connect
from app.transport.limits import TimeLimit
from app.transport.loopback import port_is_open
from app.upstream.probe import probe


def connects_with_itself(sock: socket.socket, port: int) -> None:
    """Have a socket connect from the very port that it connects to."""
    sock.bind(("127.0.0.1", port))


@pytest.fixture
def port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port on which nothing listens and that every socket gets for its own end, as from the kernel's range."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]

    def bound(plain: type[socket.socket]) -> type[socket.socket]:
        class Bound(plain):  # type: ignore[valid-type, misc]
            def connect(self, address: tuple[str, int]) -> None:
                connects_with_itself(self, port)
                super().connect(address)

            def connect_ex(self, address: tuple[str, int]) -> int:
                connects_with_itself(self, port)
                return int(super().connect_ex(address))

        return Bound

    monkeypatch.setattr("app.transport.endpoint.PlainSocket", bound(socket.socket))
    monkeypatch.setattr("socket.socket", bound(socket.socket))
    return port


def test_socket_can_be_connected_with_itself(port_of_its_own: int) -> None:
    with socket.socket() as sock:
        sock.connect(("127.0.0.1", port_of_its_own))
        sock.sendall(b"hello")
        assert sock.recv(9) == b"hello"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def test_connection_with_itself_is_a_refused_one(port_of_its_own: int) -> None:
    address = Address("127.0.0.1", port_of_its_own)
    assert not port_is_open(port_of_its_own)
    with pytest.raises(ConnectionRefusedError):
        connect_blocking(address, TimeLimit(1))
    with pytest.raises(ConnectionRefusedError):
        connect(address, Deadlines(1))
    assert "nothing listens on port" in probe(Address("127.0.0.1", port_of_its_own), AppConfig()).reason
    with pytest.raises(RouterUnreachable, match="nothing listens"):
        RouterClient(RouterConfig(main_port=port_of_its_own)).get("/")


def test_connection_with_itself_leaves_the_port_free(port_of_its_own: int) -> None:
    assert not port_is_open(port_of_its_own)
    with pytest.raises(ConnectionRefusedError):
        connect_blocking(Address("127.0.0.1", port_of_its_own), TimeLimit(1))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert not [line for line in lines if line[1].endswith(f":{port_of_its_own:04X}")], "not even in TIME-WAIT"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
def test_listener_is_found_on_its_address_alone(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        found = [one for one in ("127.0.0.1", "127.0.0.2", "::1") if port_is_open(port, one)]
        assert found == [address]
        connect_blocking(Address(address, port), TimeLimit(1)).close()
        connect(Address(address, port), Deadlines(1)).close()


def test_probe_names_the_address_on_which_something_listens() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        said = probe(Address("127.0.0.1", port), AppConfig()).reason
        assert said == f'nothing listens on 127.0.0.1:{port}, but on ::1: [app] address = "::1"?'
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = probe(Address("::1", port), AppConfig(address="::1")).reason
        assert said == f'nothing listens on [::1]:{port}, but on 127.0.0.1: [app] address = "127.0.0.1"?'
    assert probe(Address("127.0.0.1", port), AppConfig()).reason == f"nothing listens on port {port}"
    assert probe(Address("::1", port), AppConfig(address="::1")).reason == f"nothing listens on port {port} of ::1"
