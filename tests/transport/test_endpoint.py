"""`Endpoint` over real sockets: waiting, bytes both ways, and every way in which a connection ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import gevent
import pytest

from app.address import Address
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint, connect, wait_for_either, yield_to_loop
from app.transport.limits import Expired
from tests.support.waiting import wait_until
from tests.transport.loopback import closed_address, endpoint_and_peer, full_listener, receive_to_end, reset

LARGE = bytes(range(256)) * 65536
"""16 MiB, more than loopback's buffers take at once."""


@pytest.fixture
def pair() -> Iterator[tuple[Endpoint, socket.socket]]:
    with endpoint_and_peer() as both:
        yield both


@pytest.fixture
def endpoint(pair: tuple[Endpoint, socket.socket]) -> Endpoint:
    return pair[0]


@pytest.fixture
def peer(pair: tuple[Endpoint, socket.socket]) -> socket.socket:
    return pair[1]


@pytest.fixture
def patient() -> Deadlines:
    """A limit that only a hang reaches."""
    return Deadlines(10)


@pytest.fixture
def brief() -> Deadlines:
    """A limit that is to be reached."""
    return Deadlines(0.05)


def speak_unasked(peer: socket.socket) -> None:
    """Sends what belongs to no exchange."""
    peer.sendall(b"unasked")


# --- reading --------------------------------------------------------------------------------------------------


def test_read_waits_for_bytes(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    gevent.spawn(peer.sendall, b"hello")
    assert endpoint.read(patient) == b"hello"


def test_read_takes_no_more_than_asked(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    peer.sendall(b"hello")
    assert [endpoint.read(patient, 4), endpoint.read(patient, 4)] == [b"hell", b"o"]


def test_read_gives_nothing_at_the_end(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    gevent.spawn(peer.close)
    assert endpoint.read(patient) == b""


def test_read_raises_when_the_connection_is_reset(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    gevent.spawn(reset, peer)
    with pytest.raises(ConnectionResetError):
        endpoint.read(patient)


def test_read_names_the_limit_that_ended_it(endpoint: Endpoint, brief: Deadlines) -> None:
    with pytest.raises(Expired, match="0.05 s") as caught:
        endpoint.read(brief)
    assert caught.value.limit is brief


def test_read_works_again_after_it_expired(
    endpoint: Endpoint, peer: socket.socket, brief: Deadlines, patient: Deadlines
) -> None:
    with pytest.raises(Expired):
        endpoint.read(brief)
    peer.sendall(b"late")
    assert endpoint.read(patient) == b"late"


def test_read_without_limit_waits(endpoint: Endpoint, peer: socket.socket) -> None:
    gevent.spawn_later(0.02, peer.sendall, b"hello")
    assert endpoint.read(Deadlines(0)) == b"hello"


def test_receive_does_not_wait(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    assert endpoint.receive() is None
    peer.sendall(b"x")
    endpoint.wait_readable(patient)
    assert (endpoint.receive(), endpoint.receive()) == (b"x", None)


def test_bytes_that_arrive_unwaited_are_read_later(
    endpoint: Endpoint, peer: socket.socket, patient: Deadlines, brief: Deadlines
) -> None:
    with pytest.raises(Expired):
        endpoint.read(brief)
    peer.sendall(b"early")
    gevent.sleep(0.01)  # lets the hub see them while nobody waits
    assert endpoint.read(patient) == b"early"


# --- writing --------------------------------------------------------------------------------------------------


def test_send_sends_all_to_a_slow_reader(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(receive_to_end(peer)))
    reader.start()
    endpoint.send(LARGE, patient)
    endpoint.end_writing()
    reader.join(10)
    assert got == [LARGE]


def test_send_expires_when_nothing_is_taken(endpoint: Endpoint, brief: Deadlines) -> None:
    with pytest.raises(Expired) as caught:
        endpoint.send(LARGE, brief)
    assert caught.value.limit is brief


def test_send_raises_when_the_peer_is_gone(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    reset(peer)
    with pytest.raises(OSError, match="reset|[Bb]roken pipe"):
        for _ in range(3):
            endpoint.send(LARGE, patient)


def test_send_some_says_how_much_was_taken(endpoint: Endpoint) -> None:
    first = endpoint.send_some(LARGE)
    assert 0 < first < len(LARGE)
    while endpoint.send_some(LARGE):
        pass
    assert endpoint.send_some(LARGE) == 0


def test_waiting_for_room_ends_when_there_is_some(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    while endpoint.send_some(LARGE):
        pass
    reader = threading.Thread(target=receive_to_end, args=[peer])
    reader.start()
    assert endpoint.wait_writable(patient) is False
    assert endpoint.send_some(LARGE) > 0
    endpoint.close()
    reader.join(10)


def test_waiting_for_room_may_end_with_bytes_to_read(
    endpoint: Endpoint, peer: socket.socket, patient: Deadlines
) -> None:
    while endpoint.send_some(LARGE):
        pass
    for word in (b"stop", b"again"):
        gevent.spawn(peer.sendall, word)
        assert endpoint.wait_writable(patient, or_readable=True) is True
        assert endpoint.receive() == word


def test_waiting_for_room_expires(endpoint: Endpoint, brief: Deadlines) -> None:
    while endpoint.send_some(LARGE):
        pass
    with pytest.raises(Expired):
        endpoint.wait_writable(brief, or_readable=True)


def test_bytes_to_read_do_not_end_a_wait_for_room_alone(
    endpoint: Endpoint, peer: socket.socket, brief: Deadlines
) -> None:
    while endpoint.send_some(LARGE):
        pass
    peer.sendall(b"x")
    with pytest.raises(Expired):
        endpoint.wait_writable(brief)


# --- interrupting ---------------------------------------------------------------------------------------------


def test_reader_can_be_interrupted(endpoint: Endpoint, patient: Deadlines) -> None:
    gevent.spawn(endpoint.interrupt, KeyError("told so"))
    with pytest.raises(KeyError, match="told so"):
        endpoint.read(patient)


def test_interrupt_without_a_reader_does_nothing(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    endpoint.interrupt(KeyError("nobody is here"))
    peer.sendall(b"x")
    assert endpoint.read(patient) == b"x"


def test_second_interrupt_comes_too_late(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    def interrupt_twice() -> None:
        endpoint.interrupt(KeyError("first"))
        endpoint.interrupt(KeyError("second"))

    gevent.spawn(interrupt_twice)
    with pytest.raises(KeyError, match="first"):
        endpoint.read(patient)
    gevent.sleep(0.01)
    peer.sendall(b"x")
    assert endpoint.read(patient) == b"x"


# --- watching an idle connection ------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [socket.socket.close, reset, speak_unasked], ids=["end", "reset", "bytes"])
def test_idle_endpoint_notices(event: Callable[[socket.socket], None], endpoint: Endpoint, peer: socket.socket) -> None:
    seen: list[Endpoint] = []
    endpoint.watch_idle(seen.append)
    event(peer)
    until(seen)
    assert seen == [endpoint]


def test_idle_endpoint_is_noticed_once(endpoint: Endpoint, peer: socket.socket) -> None:
    seen: list[Endpoint] = []
    endpoint.watch_idle(seen.append)
    peer.sendall(b"a")
    until(seen)
    peer.sendall(b"b")
    gevent.sleep(0.01)
    assert seen == [endpoint]


def test_endpoint_back_in_use_is_not_noticed(endpoint: Endpoint, peer: socket.socket, patient: Deadlines) -> None:
    seen: list[Endpoint] = []
    endpoint.watch_idle(seen.append)
    endpoint.unwatch_idle()
    gevent.spawn(peer.sendall, b"x")
    assert endpoint.read(patient) == b"x"
    peer.close()
    gevent.sleep(0.01)
    assert seen == []


def test_endpoint_that_has_been_read_from_is_watched_too(
    endpoint: Endpoint, peer: socket.socket, patient: Deadlines
) -> None:
    peer.sendall(b"x")
    assert endpoint.read(patient) == b"x"
    seen: list[Endpoint] = []
    endpoint.watch_idle(seen.append)
    peer.close()
    until(seen)
    assert seen == [endpoint]


def until(seen: list[Endpoint]) -> None:
    """Lets the hub run until something has been seen."""
    wait_until(lambda: gevent.sleep(0.001) or seen, "the idle endpoint to be noticed")


# --- the end --------------------------------------------------------------------------------------------------


def test_silent_open_connection_has_not_closed(endpoint: Endpoint) -> None:
    assert not endpoint.has_closed()


@pytest.mark.parametrize("event", [socket.socket.close, reset, speak_unasked], ids=["end", "reset", "bytes"])
def test_connection_that_cannot_be_used_again_is_found_out(
    event: Callable[[socket.socket], None], endpoint: Endpoint, peer: socket.socket
) -> None:
    event(peer)
    wait_until(endpoint.has_closed, "the end to arrive")


def test_looking_whether_it_has_closed_takes_no_bytes(
    endpoint: Endpoint, peer: socket.socket, patient: Deadlines
) -> None:
    peer.sendall(b"x")
    wait_until(endpoint.has_closed, "the byte to arrive")
    assert endpoint.read(patient) == b"x"


def test_half_close_leaves_the_other_direction_open(
    endpoint: Endpoint, peer: socket.socket, patient: Deadlines
) -> None:
    endpoint.send(b"last words", patient)
    endpoint.end_writing()
    assert receive_to_end(peer) == b"last words"
    peer.sendall(b"heard")
    assert endpoint.read(patient) == b"heard"


def test_half_close_of_a_dead_connection_is_harmless(endpoint: Endpoint, peer: socket.socket) -> None:
    reset(peer)
    wait_until(endpoint.has_closed, "the reset to arrive")
    endpoint.end_writing()
    endpoint.end_writing()


def test_abort_is_a_reset(endpoint: Endpoint, peer: socket.socket) -> None:
    endpoint.abort()
    with pytest.raises(ConnectionResetError):
        peer.recv(1)
    assert endpoint.closed


def test_abort_after_close_is_harmless(endpoint: Endpoint) -> None:
    endpoint.close()
    endpoint.abort()
    assert endpoint.closed


def test_close_ends_the_stream_cleanly_and_only_once(endpoint: Endpoint, peer: socket.socket) -> None:
    assert not endpoint.closed
    endpoint.close()
    endpoint.close()
    assert (endpoint.closed, peer.recv(1)) == (True, b"")


# --- two at once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaker", [0, 1])
def test_first_of_two_to_speak_is_named(speaker: int, patient: Deadlines) -> None:
    with endpoint_and_peer() as first, endpoint_and_peer() as second:
        endpoints = (first[0], second[0])
        peers = (first[1], second[1])
        for _ in range(2):  # also when their watchers are on already
            gevent.spawn(peers[speaker].sendall, b"x")
            assert wait_for_either(*endpoints, patient) is endpoints[speaker]
            assert endpoints[speaker].receive() == b"x"


def test_end_of_one_of_two_is_noticed(patient: Deadlines) -> None:
    with endpoint_and_peer() as first, endpoint_and_peer() as second:
        gevent.spawn(second[1].close)
        assert wait_for_either(first[0], second[0], patient) is second[0]
        assert second[0].receive() == b""


def test_silence_of_both_expires(brief: Deadlines, patient: Deadlines) -> None:
    with endpoint_and_peer() as first, endpoint_and_peer() as second:
        with pytest.raises(Expired):
            wait_for_either(first[0], second[0], brief)
        second[1].sendall(b"x")
        assert second[0].read(patient) == b"x"


# --- connecting -----------------------------------------------------------------------------------------------


def test_connects(patient: Deadlines) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = connect(Address(*listener.getsockname()), patient)
        far, _ = listener.accept()
        with far:
            endpoint.send(b"x", patient)
            assert far.recv(1) == b"x"
        endpoint.close()


def test_refused_connection_is_an_os_error(patient: Deadlines) -> None:
    with pytest.raises(ConnectionRefusedError):
        connect(closed_address(), patient)


def test_unanswered_connection_expires(brief: Deadlines) -> None:
    with full_listener() as address, pytest.raises(Expired):
        connect(address, brief)


def test_giving_way_lets_those_go_who_wait_for_bytes(
    endpoint: Endpoint, peer: socket.socket, patient: Deadlines
) -> None:
    peer.sendall(b"x" * 100)
    served = 0

    def serve() -> None:
        nonlocal served
        while served < 100:
            endpoint.wait_readable(patient)
            served += len(endpoint.receive(1) or b"")

    serving = gevent.spawn(serve)
    for _ in range(10):
        before = served
        yield_to_loop()
        yield_to_loop()
        assert served > before
    serving.kill()
