"""The waiting room: its bound, its order, its pace, and clients that leave."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from app.errors import ClientDisconnected, HoldQueueFull
from app.proxy.waiting_room import HoldExpired, HoldRoom, Pace
from app.transport.endpoint import Endpoint
from tests.transport.loopback import connected, reset


class Gate:
    """Says whether requests may go."""

    def __init__(self) -> None:
        self.is_open = False

    def __call__(self) -> bool:
        return self.is_open


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def room(gate: Gate) -> Iterator[HoldRoom]:
    """A room for three; in the end nobody is left in it."""
    made = HoldRoom(3, 1000, gate)
    yield made
    assert len(made) == 0


def settle() -> None:
    """Lets the greenlets that were just spawned run."""
    gevent.sleep(0)


# --- pace -----------------------------------------------------------------------------------------------------


def test_first_one_need_not_wait_and_the_rate_holds_after_it() -> None:
    pace = Pace(10)
    assert [pace.due(now) for now in (5.0, 5.0625, 5.125, 5.25, 5.25, 6.25)] == [1, 0, 1, 1, 0, 10]


def test_fractions_are_not_lost() -> None:
    pace = Pace(3)
    pace.due(0.0)
    assert sum(pace.due(step / 100) for step in range(1, 1001)) == pytest.approx(30, abs=1)


# --- the room -------------------------------------------------------------------------------------------------


def test_they_go_in_the_order_in_which_they_arrived(room: HoldRoom, gate: Gate) -> None:
    gone: list[int] = []

    def wait(arrived_us: int) -> None:
        room.wait(None, arrived_us)
        gone.append(arrived_us)

    waiting = [gevent.spawn(wait, arrived_us) for arrived_us in (20, 10, 30)]
    settle()
    assert len(room) == 3
    gate.is_open = True
    gevent.joinall(waiting, timeout=5, raise_error=True)
    assert gone == [10, 20, 30]


def test_room_is_bounded_and_a_place_comes_free(room: HoldRoom, gate: Gate) -> None:
    waiting = [gevent.spawn(room.wait, None, number) for number in range(3)]
    settle()
    with pytest.raises(HoldQueueFull):
        room.wait(None, 4)
    gate.is_open = True
    gevent.joinall(waiting, timeout=5, raise_error=True)
    room.wait(None, 5, 5)


def test_wait_ends_in_time(room: HoldRoom) -> None:
    with pytest.raises(HoldExpired):
        room.wait(None, 1, 0.03)


def test_queue_does_not_grow_with_those_that_gave_up(gate: Gate) -> None:
    room = HoldRoom(3, 1000, gate)
    for number in range(300):
        with pytest.raises(HoldExpired):
            room.wait(None, number, 0)
    assert len(room._queue) < 100
    gate.is_open = True
    room.wait(None, 301, 5)


def test_room_that_was_left_empty_serves_again(room: HoldRoom, gate: Gate) -> None:
    gate.is_open = True
    for number in range(3):
        room.wait(None, number, 5)
        gevent.sleep(0.03)


# --- clients --------------------------------------------------------------------------------------------------


def test_what_a_client_sends_meanwhile_is_kept(room: HoldRoom, gate: Gate) -> None:
    near, far = connected()
    client = Endpoint(near)
    client.buffered = b"a"
    waiting = gevent.spawn(room.wait, client, 1)
    settle()
    far.sendall(b"bc")
    with gevent.Timeout(5):
        while client.buffered != b"abc":
            gevent.sleep(0.001)
    gate.is_open = True
    waiting.get(timeout=5)
    client.close()
    far.close()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("unread", [0, 140_000], ids=["nothing-unread", "much-unread"])
def test_client_that_left_does_not_go(room: HoldRoom, gate: Gate, how: str, unread: int) -> None:
    near, far = connected()
    client = Endpoint(near)
    waiting = gevent.spawn(room.wait, client, 1)
    settle()
    far.sendall(bytes(unread))
    gevent.sleep(0.02)
    far.close() if how == "close" else reset(far)
    gevent.sleep(0.02)
    gate.is_open = True
    with pytest.raises(ClientDisconnected):
        waiting.get(timeout=5)
    client.close()


def test_client_may_send_no_more_than_a_bound_ahead(room: HoldRoom, gate: Gate) -> None:
    near, far = connected()
    client = Endpoint(near)
    waiting = gevent.spawn(room.wait, client, 1)
    settle()
    far.setblocking(False)
    for _ in range(200):
        try:
            far.send(bytes(65536))
        except BlockingIOError:
            pass
        gevent.sleep(0)
    assert len(client.buffered) < 300_000
    gate.is_open = True
    waiting.get(timeout=5)
    client.close()
    far.close()
