"""Unix sockets are connected to as TCP ones are, by workers and by plain Python."""

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
