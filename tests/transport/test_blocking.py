"""`BlockingEndpoint`: the same words as `Endpoint`, in a thread that simply blocks."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from app.address import Address
from app.transport.blocking import BlockingEndpoint, connect_blocking
from app.transport.limits import Expired, TimeLimit
from tests.transport.loopback import closed_address, connected, full_listener, receive_to_end, reset

PATIENT = TimeLimit(10)
BRIEF = TimeLimit(0.05)
LARGE = bytes(1 << 24)


@pytest.fixture
def pair() -> Iterator[tuple[BlockingEndpoint, socket.socket]]:
    near, far = connected()
    endpoint = BlockingEndpoint(near)
    yield endpoint, far
    endpoint.close()
    far.close()


Pair = tuple[BlockingEndpoint, socket.socket]


def test_reads_what_comes_and_the_end(pair: Pair) -> None:
    endpoint, peer = pair
    peer.sendall(b"hello")
    peer.shutdown(socket.SHUT_WR)
    assert [endpoint.read(PATIENT, 3), endpoint.read(PATIENT), endpoint.read(PATIENT)] == [b"hel", b"lo", b""]


def test_read_expires(pair: Pair) -> None:
    with pytest.raises(Expired) as caught:
        pair[0].read(BRIEF)
    assert caught.value.limit is BRIEF


def test_read_raises_when_the_connection_is_reset(pair: Pair) -> None:
    endpoint, peer = pair
    reset(peer)
    with pytest.raises(ConnectionResetError):
        endpoint.read(PATIENT)


def test_read_without_limit_waits(pair: Pair) -> None:
    endpoint, peer = pair
    speaker = threading.Timer(0.02, peer.sendall, [b"hello"])
    speaker.start()
    assert endpoint.read(TimeLimit(0)) == b"hello"
    speaker.join()


def test_sends_all(pair: Pair) -> None:
    endpoint, peer = pair
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(receive_to_end(peer)))
    reader.start()
    endpoint.send(LARGE, PATIENT)
    endpoint.close()
    reader.join(10)
    assert got == [LARGE]


def test_send_expires_when_nothing_is_taken(pair: Pair) -> None:
    with pytest.raises(Expired) as caught:
        pair[0].send(LARGE, BRIEF)
    assert caught.value.limit is BRIEF


def test_first_part_is_sent_whole(pair: Pair) -> None:
    endpoint, peer = pair
    assert endpoint.send_some(b"hello") == 5
    assert peer.recv(10) == b"hello"


def test_close_is_harmless_when_repeated(pair: Pair) -> None:
    endpoint, peer = pair
    endpoint.close()
    endpoint.close()
    assert (endpoint.closed, peer.recv(1)) == (True, b"")


def test_connects_and_speaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = connect_blocking(Address(*listener.getsockname()), PATIENT)
        far, _ = listener.accept()
        with far:
            endpoint.send(b"x", PATIENT)
            assert far.recv(1) == b"x"
        endpoint.close()


def test_refused_connection_is_an_os_error() -> None:
    with pytest.raises(ConnectionRefusedError):
        connect_blocking(closed_address(), PATIENT)


def test_unanswered_connection_expires() -> None:
    with full_listener() as address, pytest.raises(Expired):
        connect_blocking(address, BRIEF)


def test_gevent_is_not_needed() -> None:
    program = "import sys, app.transport.blocking; sys.exit('gevent' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize(("seconds", "text"), [(30.0, "nothing within 30 s"), (0.25, "nothing within 0.25 s")])
def test_expiry_tells_its_limit(seconds: float, text: str) -> None:
    assert str(Expired(TimeLimit(seconds))) == text
