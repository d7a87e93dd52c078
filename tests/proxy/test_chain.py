"""The chain asks its filters in order, waits where they say so, and stands by nothing that an old state has said."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import gevent
import pytest

from app.errors import HoldQueueFull, NoActiveVersion, PoolExhausted, RouterError
from app.proxy.chain import Chain, Filter, Verdict, Wait
from app.proxy.filters import ORDER
from app.proxy.replies.reply import Reply
from app.proxy.transaction import Transaction
from app.proxy.waiting_room import HoldRoom
from app.routing.router import NO_VERSION
from tests.proxy.flying import Flying
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.states import put_state
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "life-of-a-request.md").read_text(encoding="utf-8")
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

FRAMES = 66
"""Calls of Python functions of ours for a plain GET outside the lane, from the forwarder on; what is new must make room
for itself."""

WELL = Reply("200 OK", [], b"")


class Stage:
    """A transaction, and a chain of whatever filters over the real router of one worker."""

    def __init__(self, flying: Flying) -> None:
        self.flying = flying
        self.router = flying.service.router
        self.asked: list[str] = []
        self.transaction = Transaction(flying.service.records, flying.request(GET)[0], b"id-1")

    def chain(self, *filters: Filter) -> Chain:
        return Chain(filters, self.router)

    def says(self, name: str, *verdicts: Verdict | Callable[[], Verdict]) -> Filter:
        """A filter that says one after the other, and from then on nothing against it."""
        left = list(verdicts)

        def ask(transaction: Transaction) -> Verdict:
            self.asked.append(name)
            verdict = left.pop(0) if left else None
            return verdict() if callable(verdict) else verdict

        return ask

    def claims(self, transaction: Transaction) -> Verdict:
        self.asked.append("claim")
        head = transaction.request.head
        transaction.row, transaction.target = self.router.claim(head.method, head.target, 0)
        return None

    def in_flight(self) -> tuple[int, int]:
        metrics = self.flying.service.metrics
        return metrics.in_flight("blue"), metrics.in_flight("green")

    def switch(self) -> Verdict:
        put_state(Path(self.flying.config.state_file), "green")
        return None


@pytest.fixture
def stage(flying: Flying) -> Stage:
    flying.service.router.look()
    return Stage(flying)


@pytest.mark.parametrize("verdict", [PoolExhausted("full"), WELL], ids=["error", "reply"])
def test_first_filter_that_says_something_ends_it(stage: Stage, verdict: RouterError | Reply) -> None:
    chain = stage.chain(stage.says("a"), stage.says("b", verdict), stage.says("c"), stage.claims)
    assert chain.admit(stage.transaction) is verdict
    assert stage.asked == ["a", "b"]
    assert (stage.transaction.row, stage.in_flight()) == (None, (0, 0))


def test_who_passes_all_has_a_claim(stage: Stage) -> None:
    assert stage.chain(stage.says("a"), stage.claims).admit(stage.transaction) is None
    assert (stage.asked, stage.transaction.target.name, stage.in_flight()) == (["a", "claim"], "blue", (1, 0))
    stage.transaction.end(200)


def test_state_that_moves_before_the_claim_has_every_filter_asked_again(stage: Stage) -> None:
    """What the first one said was said of a state that is over."""
    chain = stage.chain(stage.says("a"), stage.says("b", stage.switch), stage.claims)
    assert chain.admit(stage.transaction) is None
    assert stage.asked == ["a", "b", "claim", "a", "b", "claim"]
    assert (stage.transaction.target.name, stage.in_flight()) == ("green", (0, 1)), "blue's claim is given back"
    stage.transaction.end(200)


def test_refusal_by_a_state_that_is_over_does_not_count(stage: Stage) -> None:
    def refuses_once() -> Verdict:
        stage.switch()
        stage.router.look()
        return NoActiveVersion("of the old state")

    assert stage.chain(stage.says("a", refuses_once), stage.claims).admit(stage.transaction) is None
    assert stage.asked == ["a", "a", "claim"]
    stage.transaction.end(200)


def test_who_waits_holds_no_claim_and_is_asked_from_the_beginning(stage: Stage) -> None:
    open_door = gevent.event.Event()
    room = HoldRoom(10, 1000.0, open_door.is_set)
    counted = partial(stage.transaction.recorder.count_held, NO_VERSION)
    chain = stage.chain(stage.says("a"), stage.says("b", Wait(room, counted)), stage.claims)
    going = gevent.spawn(chain.admit, stage.transaction)
    with gevent.Timeout(5):
        while not len(room):
            gevent.sleep(0.001)
        assert (stage.asked, stage.in_flight()) == (["a", "b"], (0, 0))
        open_door.set()
        assert going.get() is None
    assert stage.asked == ["a", "b", "a", "b", "claim"]
    held = stage.flying.counted("router")
    assert (held.held, stage.in_flight()) == (1, (1, 0))
    stage.transaction.end(200)


def test_full_waiting_room_turns_away_without_counting_a_hold(stage: Stage) -> None:
    chain = stage.chain(stage.says("a", Wait(HoldRoom(0, 1.0, lambda: True), lambda us: None)), stage.claims)
    with pytest.raises(HoldQueueFull):
        chain.admit(stage.transaction)
    assert stage.flying.counted("router").held == 0


# --- the order, and what it costs -------------------------------------------------------------------------------


def test_order_is_shown_on_the_page() -> None:
    shown = re.findall(r"^\| \d+ \| (\w+) \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert [(name, why.strip()) for name, why in shown] == list(ORDER)


def test_filters_do_not_know_one_another() -> None:
    for path in (ROOT / "app" / "proxy" / "filters").glob("*.py"):
        if path.name != "__init__.py":
            assert "import" in path.read_text() and "app.proxy.filters" not in path.read_text(), path.name


def entered(flying: Flying) -> list[str]:
    """The functions of ours that one plain GET enters."""
    found: list[str] = []
    request, _ = flying.request(GET)

    def profile(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(ROOT / "app")):
            found.append(f"{name}: {frame.f_code.co_qualname}")

    sys.setprofile(profile)
    try:
        flying.service.forwarder.forward(request)({}, None)
    finally:
        sys.setprofile(None)
    return found


def test_plain_get_enters_no_more_frames_than_it_did(fly: Callable[..., Flying], upstream: RawUpstream) -> None:
    upstream.answers(reply(b"hello"))
    flying = fly(access_log="")
    written_at = os.stat(flying.config.state_file).st_ctime
    wait_until(lambda: time.time() > written_at + 0.1, "a state file that need not be read again")
    # Several: pools and caches are empty at first, and on a busy machine an answer may come in two pieces.
    fewest = min((entered(flying) for _ in range(8)), key=len)
    assert len(fewest) <= FRAMES, "\n".join(fewest)
