"""Deadlines: many waits of one length, each ended in time, none ended early."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from app.transport.deadlines import Deadlines
from app.transport.limits import Expired
from tests.support.waiting import wait_until

BRIEF_S = 0.08


class Noted:
    """Deadlines over plain values that note when each was over."""

    def __init__(self, seconds: float = BRIEF_S) -> None:
        self.over: dict[Any, float] = {}  # any hashable value can be a wait
        self.deadlines = Deadlines(seconds, self._note)

    def _note(self, wait: Any) -> None:
        self.over[wait] = monotonic()

    def wait_for(self, count: int) -> None:
        """Lets the hub run until that many waits are over."""
        wait_until(lambda: gevent.sleep(0.001) or len(self.over) >= count, f"{count} waits to be over")


def test_wait_ends_in_time_and_never_early() -> None:
    noted = Noted()
    began = monotonic()
    noted.deadlines.add("a")
    noted.wait_for(1)
    lasted = noted.over["a"] - began
    assert BRIEF_S * 0.95 <= lasted < BRIEF_S + 1


class Ticks:
    """A loop whose timer ticks when the test says so, at the times that a real one would."""

    def __init__(self) -> None:
        self.tick_s = 0.0
        self._ticked: Callable[[], None] = lambda: None
        self.now = 0.0

    def timer(self, first_s: float, repeat_s: float, ref: bool) -> Ticks:
        assert first_s == repeat_s and not ref
        self.tick_s = repeat_s
        return self

    def start(self, ticked: Callable[[], None]) -> None:
        self._ticked = ticked

    def stop(self) -> None: ...

    def close(self) -> None: ...

    def tick(self) -> None:
        self.now += self.tick_s
        self._ticked()


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.1, 1.0, 5.0, 30.0, 3600.0])
@pytest.mark.parametrize("begins", [0.0, 0.01, 0.5, 0.99])
def test_no_wait_is_later_than_a_tick_and_none_is_early(
    seconds: float, begins: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`begins` is where in the second tick the second wait begins; the first one starts the ticking."""
    ticks, over = Ticks(), dict[str, float]()

    def note(wait: str) -> None:
        over.setdefault(wait, ticks.now)

    monkeypatch.setattr("app.transport.deadlines.get_hub", lambda: SimpleNamespace(loop=ticks))
    deadlines = Deadlines(seconds, note)
    deadlines.add("first")
    ticks.tick()
    began = ticks.now + begins * ticks.tick_s
    deadlines.add("second")
    while len(over) < 2:
        ticks.tick()
    latest = max(seconds / 64, 0.001) * 1.0001
    assert over["first"] == pytest.approx(seconds)
    assert seconds * 0.9999 <= over["second"] - began <= seconds + latest


def test_waits_end_in_the_order_in_which_they_began() -> None:
    noted = Noted()
    for name in "abc":
        noted.deadlines.add(name)
        gevent.sleep(BRIEF_S / 4)
    noted.wait_for(3)
    assert list(noted.over) == ["a", "b", "c"]
    assert noted.over["c"] - noted.over["a"] >= BRIEF_S / 4


def test_forgotten_wait_does_not_end() -> None:
    noted = Noted()
    noted.deadlines.add("a")
    noted.deadlines.add("b")
    noted.deadlines.discard("a")
    noted.wait_for(1)
    assert list(noted.over) == ["b"]


def test_unknown_wait_is_forgotten_without_complaint() -> None:
    Noted().deadlines.discard("a")


def test_wait_that_begins_anew_has_its_full_time() -> None:
    noted = Noted()
    noted.deadlines.add("a")
    gevent.sleep(BRIEF_S / 2)
    noted.deadlines.discard("a")
    began = monotonic()
    noted.deadlines.add("a")
    noted.wait_for(1)
    assert noted.over["a"] - began >= BRIEF_S * 0.95


def test_waits_after_a_pause_end_too() -> None:
    noted = Noted(0.02)
    noted.deadlines.add("a")
    noted.wait_for(1)
    gevent.sleep(0.05)  # long enough for whatever measures the time to come to rest
    noted.deadlines.add("b")
    noted.wait_for(2)
    assert list(noted.over) == ["a", "b"]


def test_limit_of_zero_never_ends_a_wait() -> None:
    noted = Noted(0)
    noted.deadlines.add("a")
    other = Noted(0.02)
    other.deadlines.add("b")
    other.wait_for(1)
    assert noted.over == {}


def test_end_of_one_wait_may_forget_another() -> None:
    ended: list[str] = []

    def end(wait: str) -> None:
        ended.append(wait)
        deadlines.discard("b")

    deadlines = Deadlines(0.02, end)
    deadlines.add("a")
    deadlines.add("b")
    wait_until(lambda: gevent.sleep(0.001) or ended, "the first wait to be over")
    gevent.sleep(0.06)
    assert ended == ["a"]


def test_wait_of_a_greenlet_ends_with_an_exception_in_it() -> None:
    deadlines = Deadlines(0.02)
    with pytest.raises(Expired, match=r"nothing within 0\.02 s") as caught:
        deadlines.add(gevent.getcurrent())
        Event().wait(10)
    assert caught.value.limit is deadlines


def test_pending_deadline_does_not_keep_an_idle_loop_alive() -> None:
    Deadlines(60, lambda wait: None).add("a")
    with gevent.Timeout(10):
        assert gevent.wait(timeout=None, objects=[]) == []


def test_shortened_waits_begin_anew() -> None:
    noted = Noted(3600)
    noted.deadlines.add("before")
    began = monotonic()
    noted.deadlines.shorten(BRIEF_S)
    assert noted.deadlines.seconds == BRIEF_S
    noted.wait_for(1)
    lasted = noted.over["before"] - began
    assert BRIEF_S * 0.95 <= lasted < BRIEF_S + 1
    noted.deadlines.add("after")
    noted.wait_for(2)
    assert list(noted.over) == ["before", "after"]
