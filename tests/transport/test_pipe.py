"""A pipe between two sockets: what it holds, and that nothing of it ends up in somebody else's body."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from app.transport.pipe import Pipe, SourceEnded
from tests.transport.loopback import connected, reset

Ends = tuple[socket.socket, socket.socket]


def near_and_far() -> Iterator[Ends]:
    """The end that a pipe moves bytes from or to, and the other one."""
    near, far = connected()
    near.setblocking(False)
    with near, far:
        yield near, far


@pytest.fixture
def source() -> Iterator[Ends]:
    yield from near_and_far()


@pytest.fixture
def target() -> Iterator[Ends]:
    yield from near_and_far()


def arrived(sock: socket.socket, count: int) -> None:
    """Waits until so many bytes can be read."""
    sock.setblocking(True)
    assert len(sock.recv(count, socket.MSG_PEEK | socket.MSG_WAITALL)) == count
    sock.setblocking(False)


def test_moves_what_is_there_and_no_more_than_asked(source: Ends, target: Ends) -> None:
    pipe = Pipe.take()
    assert not pipe.fill(source[0].fileno(), 100)
    source[1].sendall(b"the body and the next request")
    arrived(source[0], 29)
    assert pipe.fill(source[0].fileno(), 8)
    assert (pipe.held, pipe.drain(target[0].fileno()), pipe.held) == (8, 8, 0)
    assert target[1].recv(100) == b"the body"
    assert source[0].recv(100) == b" and the next request"


def test_holds_what_the_target_does_not_take(source: Ends, target: Ends) -> None:
    target[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    while True:  # until the target takes nothing more
        try:
            target[0].send(bytes(65536))
        except BlockingIOError:
            break
    source[1].sendall(b"later")
    arrived(source[0], 5)
    pipe = Pipe.take()
    assert pipe.fill(source[0].fileno(), 5)
    assert (pipe.drain(target[0].fileno()), pipe.held) == (0, 5)


@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "closed"])
def test_source_that_ends_is_told_from_one_that_waits(source: Ends, leave: Callable[[socket.socket], None]) -> None:
    leave(source[1])
    source[0].setblocking(True)
    with pytest.raises(SourceEnded):
        Pipe.take().fill(source[0].fileno(), 5)


def test_target_that_is_gone_is_an_error(source: Ends, target: Ends) -> None:
    source[1].sendall(b"12345")
    arrived(source[0], 5)
    pipe = Pipe.take()
    pipe.fill(source[0].fileno(), 5)
    target[0].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        pipe.drain(target[0].fileno())


def test_empty_pipe_is_used_again_and_a_full_one_is_closed(source: Ends) -> None:
    empty = Pipe.take()
    empty.give_back()
    assert Pipe.take() is empty
    source[1].sendall(b"left behind")
    arrived(source[0], 11)
    empty.fill(source[0].fileno(), 11)
    empty.give_back()
    assert Pipe.take() is not empty


def test_dropped_pipe_frees_its_descriptors() -> None:
    kept = [Pipe.take() for _ in range(20)]  # more than are kept for later
    before = len(os.listdir("/proc/self/fd"))
    kept.clear()
    assert len(os.listdir("/proc/self/fd")) == before - 40
