"""Log lines about limits: at once, then seldom, and with how often in between."""

from __future__ import annotations

import logging

import pytest

from app.notices import Notices
from tests.support.fake_clock import FakeSeconds


@pytest.fixture
def clock() -> FakeSeconds:
    return FakeSeconds()


@pytest.fixture
def notices(clock: FakeSeconds) -> Notices:
    return Notices(logging.getLogger("tests.notices"), clock)


def test_first_is_said_at_once_and_the_next_after_a_while(
    notices: Notices, clock: FakeSeconds, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        notices.say("full")
    clock.now += 4.9
    notices.say("full")
    assert caplog.messages == ["full"]
    clock.now += 0.1
    notices.say("full")
    assert caplog.messages[1:] == ["full; 3 more times since the last line like this"]


def test_count_begins_anew_with_each_line(
    notices: Notices, clock: FakeSeconds, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        notices.say("full")
        clock.now += 5
    assert caplog.messages == ["full"] * 3


def test_percent_signs_are_no_format(notices: Notices, caplog: pytest.LogCaptureFixture) -> None:
    notices.say("100 % of %s")
    assert caplog.messages == ["100 % of %s"]
