"""One direction of a WebSocket that is told to end: between two frames, once, and with nothing after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.protocol.websocket import SERVICE_RESTART, close_frame
from app.proxy.relay.websocket_frames import Way
from app.transport.deadlines import Deadlines

HELLO = b"\x82\x05hello"
CLOSE = close_frame(1000)
OURS = close_frame(SERVICE_RESTART)
PATIENT = Deadlines(10)


pytestmark = pytest.mark.sources


class Side:
    """An endpoint that keeps what it is sent; `meanwhile` is done once while it waits in `send`."""

    def __init__(self) -> None:
        self.sent = b""
        self.meanwhile: Callable[[], None] = lambda: None

    def send(self, data: bytes, sending: Deadlines) -> None:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        self.sent += data

    def send_some(self, data: bytes) -> int:
        self.sent += data
        return len(data)


@pytest.fixture
def side() -> Side:
    return Side()


@pytest.fixture
def way(side: Side) -> Way:
    return Way(side, OURS)  # type: ignore[arg-type]  # what it uses of an endpoint


def test_frames_pass_unchanged(way: Way, side: Side) -> None:
    for data in (HELLO[:3], HELLO[3:] + HELLO, CLOSE):
        assert way.pass_on(data, PATIENT)
    assert side.sent == HELLO + HELLO + CLOSE
    assert way.has_closed
    assert not way.is_over, "nobody has asked"


def test_silent_way_ends_at_once(way: Way, side: Side) -> None:
    way.pass_on(HELLO, PATIENT)
    way.end()
    way.end()
    assert side.sent == HELLO + OURS
    assert way.is_over


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_frame_under_way_is_completed_first(way: Way, side: Side, cut: int) -> None:
    way.pass_on(HELLO[:cut], PATIENT)
    way.end()
    assert not way.is_over
    assert way.pass_on(HELLO[cut:-1], PATIENT), "still in the frame"
    assert side.sent == HELLO[:-1]
    assert way.pass_on(HELLO[-1:] + HELLO, PATIENT), "the other side has not said its Close yet"
    assert way.is_over
    assert side.sent == HELLO + OURS, "and nothing of the next frame"


def test_way_that_is_asked_while_it_sends_ends_after_what_it_sends(way: Way, side: Side) -> None:
    side.meanwhile = way.end
    way.pass_on(HELLO, PATIENT)
    assert side.sent == HELLO + OURS
    assert way.is_over


def test_after_the_end_only_the_other_sides_close_matters(way: Way, side: Side) -> None:
    way.end()
    assert not way.pass_on(HELLO, PATIENT)
    assert not way.has_closed
    assert not way.pass_on(HELLO + CLOSE, PATIENT)
    assert way.has_closed
    assert side.sent == OURS


def test_other_sides_close_frame_is_not_followed_by_ours(way: Way, side: Side) -> None:
    way.pass_on(CLOSE, PATIENT)
    way.end()
    assert way.is_over
    assert side.sent == CLOSE


def test_other_sides_close_frame_under_way_stays_the_last(way: Way, side: Side) -> None:
    way.pass_on(CLOSE[:1], PATIENT)
    way.end()
    assert not way.pass_on(CLOSE[1:], PATIENT), "both have said goodbye"
    assert side.sent == CLOSE
    assert way.is_over and way.has_closed
