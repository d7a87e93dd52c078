"""When the streams of a version that is not active any more are handed over, and when they are cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.proxy.long_lived import GOODBYE_S, Handover, LongLived
from tests.support.configs import router_config

BLUE, GREEN = 0, 1
GRACEFUL = Handover(True, 10.0, 20.0)


class Timeline:
    """A clock, and what is to be done at some time of it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self._due.append((self.now + seconds, action))

    def advance(self, seconds: float) -> None:
        """Lets time pass, and does what becomes due, in order."""
        end = self.now + seconds
        while due := sorted((entry for entry in self._due if entry[0] <= end), key=lambda entry: entry[0]):
            self._due.remove(due[0])
            self.now, action = due[0]
            action()
        self.now = end


class Recorded:
    """A stream that notes what is done with it, and when."""

    def __init__(self, timeline: Timeline, version: int = BLUE) -> None:
        self.version = version
        self.is_over = False
        self.done: list[tuple[str, float]] = []
        self._began = timeline.now
        self._timeline = timeline

    def hand_over(self) -> None:
        self.done.append(("handed over", self._timeline.now - self._began))

    def cut(self) -> None:
        self.done.append(("cut", self._timeline.now - self._began))


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


@pytest.fixture
def stream(timeline: Timeline) -> Recorded:
    return Recorded(timeline)


@pytest.fixture
def long_lived(timeline: Timeline, stream: Recorded) -> LongLived:
    """With one stream of blue, which would be handed over half a window after a switch."""
    streams = LongLived(timeline, lambda low, high: (low + high) / 2, timeline.later)
    streams.add(stream)
    return streams


def look_for(
    seconds: int, long_lived: LongLived, timeline: Timeline, active: int | None, handover: Handover = GRACEFUL
) -> None:
    """A worker's beat, once a second, for so long."""
    for _ in range(seconds):
        long_lived.look(active, handover)
        timeline.advance(1)


# --- a switch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("active", [BLUE, None], ids=["its version is active", "none is active"])
def test_stream_stays_while_there_is_nowhere_else_to_go(
    long_lived: LongLived, timeline: Timeline, stream: Recorded, active: int | None
) -> None:
    look_for(60, long_lived, timeline, active)
    assert stream.done == []


def test_stream_of_the_old_version_is_handed_over_at_its_time_and_cut_at_the_deadline(
    long_lived: LongLived, timeline: Timeline, stream: Recorded
) -> None:
    look_for(21, long_lived, timeline, GREEN)
    assert stream.done == [("handed over", 5.0), ("cut", 20.0)]


def test_stream_that_ends_by_itself_is_left_alone(long_lived: LongLived, timeline: Timeline, stream: Recorded) -> None:
    look_for(6, long_lived, timeline, GREEN)
    long_lived.discard(stream)
    long_lived.discard(stream)
    look_for(20, long_lived, timeline, GREEN)
    assert [what for what, _ in stream.done] == ["handed over"]
    assert len(long_lived) == 0


def test_stream_that_ends_between_the_look_and_its_moment_is_not_handed_over(
    long_lived: LongLived, timeline: Timeline, stream: Recorded
) -> None:
    long_lived.look(GREEN, Handover(True, 1.0, 20.0))  # due half a second from now
    long_lived.discard(stream)
    timeline.advance(5)
    assert stream.done == []


def test_roll_back_calls_off_what_has_not_happened(long_lived: LongLived, timeline: Timeline, stream: Recorded) -> None:
    look_for(4, long_lived, timeline, GREEN)
    look_for(30, long_lived, timeline, BLUE)
    assert stream.done == []
    look_for(6, long_lived, timeline, GREEN)
    assert stream.done == [("handed over", 39.0)], "the next switch begins anew"


def test_stream_that_begins_late_at_the_old_version_has_its_own_time(long_lived: LongLived, timeline: Timeline) -> None:
    look_for(10, long_lived, timeline, GREEN)
    late = Recorded(timeline)
    long_lived.add(late)
    look_for(21, long_lived, timeline, GREEN)
    assert late.done == [("handed over", 5.0), ("cut", 20.0)]


def test_streams_of_the_new_version_stay(long_lived: LongLived, timeline: Timeline) -> None:
    new = Recorded(timeline, GREEN)
    long_lived.add(new)
    look_for(30, long_lived, timeline, GREEN)
    assert new.done == []


@pytest.mark.parametrize(
    ("is_over", "expected"),
    [(True, [("handed over", 5.0), ("cut", 5.0 + GOODBYE_S)]), (False, [("handed over", 5.0)])],
    ids=["said goodbye", "still in a frame"],
)
def test_goodbye_that_is_not_answered_ends_soon(
    long_lived: LongLived, timeline: Timeline, stream: Recorded, is_over: bool, expected: list[tuple[str, float]]
) -> None:
    stream.is_over = is_over
    look_for(15, long_lived, timeline, GREEN)
    assert stream.done == expected


def test_handover_that_is_off_ends_nothing(long_lived: LongLived, timeline: Timeline, stream: Recorded) -> None:
    look_for(60, long_lived, timeline, GREEN, Handover(False, 0.0, GOODBYE_S))
    assert stream.done == []


# --- a worker that stops ----------------------------------------------------------------------------------


def test_worker_that_stops_hands_over_the_active_versions_streams_too(
    long_lived: LongLived, timeline: Timeline, stream: Recorded
) -> None:
    long_lived.leave(Handover(True, 4.0, 9.0))
    look_for(10, long_lived, timeline, BLUE)
    assert stream.done == [("handed over", 2.0), ("cut", 9.0)]


# --- what is configured -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"handover": "graceful", "handover_window": 10, "drain_timeout": 60}, Handover(True, 10.0, 54.0)),
        ({"handover": "graceful", "handover_window": 60, "drain_timeout": 30}, Handover(True, 24.0, 27.0)),
        ({"handover": "graceful", "handover_window": 20, "drain_timeout": 0}, Handover(True, 16.0, 18.0)),
        ({"handover": "cut"}, Handover(True, 0.0, GOODBYE_S)),
        ({"handover": "keep"}, Handover(False, 0.0, GOODBYE_S)),
    ],
    ids=["graceful", "window longer than the drain", "drain without a limit", "cut", "keep"],
)
def test_handover_is_over_before_a_drain_gives_up(settings: dict[str, object], expected: Handover) -> None:
    assert Handover.of(router_config(**settings)) == expected


def test_handover_within_a_stop_is_over_before_the_stop() -> None:
    assert Handover(True, 10.0, 54.0).within(20.0) == Handover(True, 10.0, 18.0)
    assert Handover(True, 60.0, 54.0).within(20.0) == Handover(True, 10.0, 18.0)
