"""Addresses: read as they are written, and connected to, TCP and Unix sockets alike."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from app.address import Address
from app.transport.blocking import connect_blocking
from app.transport.deadlines import Deadlines
from app.transport.endpoint import connect
from app.transport.limits import Expired, TimeLimit

Connect = Callable[[Address, float], Any]

WAYS: dict[str, Connect] = {
    "worker": lambda address, seconds: connect(address, Deadlines(seconds)),
    "blocking": lambda address, seconds: connect_blocking(address, TimeLimit(seconds)),
}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.7:8000", Address("10.0.0.7", 8000)),
        ("[fd00::7]:8000", Address("fd00::7", 8000)),
        ("unix:/run/shop.sock", Address("/run/shop.sock")),
    ],
)
def test_address_is_read_as_it_is_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8000", "is no address such as 10.0.0.7:8000"),
        ("10.0.0.7", "is no address such as"),
        ("10.0.0.7:0", "is no address such as"),
        ("10.0.0.7:65536", "is no address such as"),
        ("10.0.0.7:٣", "is no address such as"),
        ("10.0.0.700:80", "has no IP address"),
        ("http://10.0.0.7:80", "has no IP address"),
        ("fd00::7:8000", "in brackets"),
        ("[10.0.0.7]:8000", "in brackets"),
        ("unix:shop.sock", "begins with /"),
        ("unix:/" + 107 * "x", "at most 107 bytes"),
    ],
)
def test_what_is_no_address_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="brackets|no|path") as found:
        Address.parse(text)
    assert said in str(found.value)


def test_address_in_a_url_and_for_people() -> None:
    kinds = [Address("127.0.0.1", 80), Address("::1", 80), Address("/run/x")]
    assert [one.authority for one in kinds] == ["127.0.0.1:80", "[::1]:80", "localhost"]
    assert [one.spot for one in kinds] == ["port 80", "port 80 of ::1", "/run/x"]


@pytest.mark.parametrize("way", WAYS)
def test_unix_socket_is_connected_to(way: str, tmp_path: Path) -> None:
    address = Address(str(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.host)
        listener.listen()
        endpoint = WAYS[way](address, 5)
        with listener.accept()[0] as near:
            near.sendall(b"hello")
            limit = Deadlines(5) if way == "worker" else TimeLimit(5)
            assert endpoint.read(limit) == b"hello"
        endpoint.close()


@pytest.mark.parametrize("way", WAYS)
def test_nobody_at_a_unix_socket_is_refused_or_missing(way: str, tmp_path: Path) -> None:
    address = Address(str(tmp_path / "s"))
    with pytest.raises(FileNotFoundError):
        WAYS[way](address, 5)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.host)
    with pytest.raises(ConnectionRefusedError):
        WAYS[way](address, 5)


@pytest.mark.parametrize("way", WAYS)
def test_full_queue_of_a_unix_socket_is_waited_for(way: str, tmp_path: Path) -> None:
    address = Address(str(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(address.host)
        listener.listen(0)
        waiting.connect(address.host)
        with pytest.raises(Expired):
            WAYS[way](address, 0.1)
        taking = Timer(0.1, lambda: listener.accept()[0].close())
        taking.start()
        WAYS[way](address, 5).close()
        taking.join()
