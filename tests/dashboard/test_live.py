"""One frame a second for everybody, and streams that end."""

from __future__ import annotations

import json
from collections.abc import Mapping

import gevent
import pytest

from app.dashboard.live import Live, LiveStream


class Page:
    """Fragments of which one changes each time they are made."""

    def __init__(self) -> None:
        self.made = 0
        self.fails = False

    def fragments(self) -> Mapping[str, str]:
        """The renderer's method of that name."""
        if self.fails:
            raise RuntimeError("no")
        self.made += 1
        return {"still": "the same", "count": str(self.made)}


@pytest.fixture
def page() -> Page:
    return Page()


def data(event: bytes) -> dict[str, str]:
    """The fragments that an event carries."""
    (line,) = [line for line in event.splitlines() if line.startswith(b"data: ")]
    found: dict[str, str] = json.loads(line[6:])
    return found


def opened(live: Live) -> LiveStream:
    """A stream that must be given."""
    stream = live.open()
    assert stream is not None
    return stream


def test_frame_is_shared_for_a_second(page: Page) -> None:
    now = [100.0]
    live = Live(page.fragments, clock=lambda: now[0])
    assert live.frame() is live.frame()
    now[0] = 101.0
    assert live.frame().serial == 2
    assert page.made == 2


def test_nothing_is_made_while_nobody_watches(page: Page) -> None:
    Live(page.fragments)
    gevent.sleep(0.05)
    assert page.made == 0


def test_first_event_has_everything_and_the_next_what_changed(page: Page) -> None:
    live = Live(page.fragments)
    stream = opened(live)
    first = next(stream)
    assert first.startswith(b"retry: ")
    assert set(data(first)) == {"still", "count"}
    assert set(data(next(stream))) == {"count"}
    stream.close()


def test_viewer_that_missed_a_frame_gets_everything(page: Page) -> None:
    live = Live(page.fragments)
    quick, slow = opened(live), opened(live)
    next(slow)
    next(quick), next(quick), next(quick)
    assert set(data(next(slow))) == {"still", "count"}
    quick.close()
    slow.close()


def test_viewers_share_their_frames(page: Page) -> None:
    live = Live(page.fragments)
    streams = [opened(live) for _ in range(10)]
    for stream in streams:
        next(stream)
    for stream in streams:
        gevent.spawn(next, stream)
    gevent.sleep(1.3)
    assert page.made <= 3
    for stream in streams:
        stream.close()


def test_streams_are_bounded(page: Page) -> None:
    live = Live(page.fragments, most_streams=2)
    first, second = opened(live), opened(live)
    assert live.open() is None
    first.close()
    opened(live).close()
    second.close()
    again = [opened(live), opened(live)]  # none is left, so both have room
    assert live.open() is None
    for stream in again:
        stream.close()


def test_stream_ends_at_once_when_the_worker_stops(page: Page) -> None:
    live = Live(page.fragments)
    stream = opened(live)
    next(stream)
    waiting = gevent.spawn(list, stream)
    gevent.sleep(0.05)
    live.close()
    assert len(waiting.get(timeout=0.5)) <= 1
    assert live.open() is None


def test_stream_ends_after_its_time(page: Page) -> None:
    now = [100.0]
    live = Live(page.fragments, clock=lambda: now[0])
    stream = opened(live)
    next(stream)
    now[0] += 601
    assert list(stream) == []


def test_frame_that_cannot_be_made_does_not_end_the_streams(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    live = Live(page.fragments)
    stream = opened(live)
    next(stream)
    page.fails = True
    waiting = gevent.spawn(next, stream)
    gevent.sleep(1.2)
    assert not waiting.ready()
    page.fails = False
    assert data(waiting.get(timeout=3))
    assert "could not be made" in caplog.text
    stream.close()
