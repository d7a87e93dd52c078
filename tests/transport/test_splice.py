"""Long bodies moved inside the kernel: complete, and no more than the body."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint
from app.transport.limits import Expired
from app.transport.pipe import SourceEnded
from app.transport.splice import splice_body
from tests.transport.loopback import endpoint_and_peer, receive_to_end, reset

LARGE = bytes(range(256)) * 65536
"""16 MiB, more than loopback's buffers and a pipe take at once."""


class Body:
    """Two connections, and the way of a body from one peer to the other."""

    def __init__(self, source: Endpoint, sender: socket.socket, target: Endpoint, receiver: socket.socket) -> None:
        self.source, self.sender, self.target, self.receiver = source, sender, target, receiver
        self.waiting = Deadlines(10)
        self.sending = Deadlines(10)

    def steps(self, length: int) -> Iterator[int]:
        return splice_body(
            self.source, self.target, length, lambda: self.source.wait_readable(self.waiting), self.sending
        )


@pytest.fixture
def body() -> Iterator[Body]:
    with endpoint_and_peer() as source, endpoint_and_peer() as target:
        yield Body(*source, *target)


def send_from_elsewhere(sender: socket.socket, data: bytes) -> threading.Thread:
    def send() -> None:
        with contextlib.suppress(OSError):  # nobody takes the rest any more
            sender.sendall(data)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_body_larger_than_all_buffers_arrives_whole(body: Body) -> None:
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(receive_to_end(body.receiver)))
    reader.start()
    writer = send_from_elsewhere(body.sender, LARGE)
    taken = list(body.steps(len(LARGE)))
    body.target.end_writing()
    reader.join(10)
    writer.join(10)
    assert got == [LARGE]
    assert sum(taken) == len(LARGE)
    assert 0 not in taken


def test_no_byte_behind_the_body_is_taken(body: Body) -> None:
    body.sender.sendall(b"body" + b"next")
    assert sum(body.steps(4)) == 4
    assert body.receiver.recv(100) == b"body"
    assert body.source.read(body.waiting) == b"next"


@pytest.mark.parametrize("end", [socket.socket.close, reset], ids=["closed", "reset"])
def test_source_that_ends_early_says_so(body: Body, end: Callable[[socket.socket], None]) -> None:
    body.sender.sendall(b"half")
    steps = body.steps(8)
    assert next(steps) == 4
    end(body.sender)
    with pytest.raises(SourceEnded):
        next(steps)


def test_silent_source_ends_when_its_wait_does(body: Body) -> None:
    body.waiting = Deadlines(0.05)
    with pytest.raises(Expired) as caught:
        list(body.steps(8))
    assert caught.value.limit is body.waiting


def test_target_that_takes_nothing_expires(body: Body) -> None:
    body.sending = Deadlines(0.05)
    writer = send_from_elsewhere(body.sender, LARGE)
    with pytest.raises(Expired) as caught:
        list(body.steps(len(LARGE)))
    assert caught.value.limit is body.sending
    body.source.abort()  # or the writer would wait for ever
    writer.join(10)


def test_target_that_is_gone_is_an_error_of_the_target(body: Body) -> None:
    reset(body.receiver)
    body.sender.sendall(b"body")
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        list(body.steps(4))
