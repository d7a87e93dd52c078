"""The lane and the ordinary way are one in behaviour: the same bytes to clients and versions, the same records."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from types import FrameType
from typing import Any

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.server import lane as lane_module
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.two_ways import Way, settled, since, two_ways
from tests.support.wire import Broken, Truncated, Wire
from tests.transport.loopback import connected

ROOT = Path(__file__).resolve().parents[2]

FRAMES = 73
"""Calls of Python functions of ours for a plain GET, the reading of both heads and the log included; what is new must
make room for itself."""

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS: dict[bytes, tuple[bytes, ...]] = {
    b"/whole": (reply(b"whole", fields=[(b"Set-Cookie", b"a=1"), (b"Keep-Alive", b"timeout=5")]),),
    b"/parted": (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", b"par", b"ted"),
    b"/trickled": (b"HTTP/1.1 200 O", b"K\r\nContent-Length: 2\r\n\r", b"\nok"),
    b"/chunked": (CHUNKED + b"3\r\nabc\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"),
    b"/chunked-at-once": (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",),
    b"/to-the-end": (b"HTTP/1.1 200 OK\r\n\r\nuntil", b" the end", b""),
    b"/old": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b""),
    b"/no-content": (b"HTTP/1.1 204 No Content\r\n\r\n",),
    b"/not-modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",),
    b"/empty": (reply(b"", b"500 Internal Server Error"),),
    b"/early": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"late"),),
    b"/upgrade": (reply(b"", b"426 Upgrade Required", [(b"Upgrade", b"h9"), (b"Connection", b"Upgrade")]),),
    b"/last": (reply(b"last", fields=[(b"Connection", b"close")]), b""),
    b"/unasked": (reply(b"one") + b"HTTP/1.1 200 OK\r\n",),
    b"/large": (reply(b"l" * 300_000),),
    b"/gone": (b"",),
    b"/half": (b"HTTP/1.1 200 OK\r\nContent-Le", b""),
    b"/cut": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b""),
    b"/broken": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",),
    b"/no-http": (b"SSH-2.0-x\r\n",),
}
"""By target: what is sent one after the other; b"" is the end of the connection."""


def handle(exchange: Exchange) -> None:
    exchange.read_body()
    for part in ANSWERS[exchange.target.partition(b"?")[0]]:
        if not part:
            exchange.close()
            return
        if exchange.method == b"HEAD":
            part = part.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        exchange.send(part)
        if exchange.method == b"HEAD":
            return
        sleep(0.001)


@dataclass(frozen=True)
class Request:
    """What a client sends, cut at these places, before it reads so many answers."""

    raw: bytes
    cuts: tuple[int, ...] = ()
    method: bytes = b"GET"
    answers: int = 1


PLAIN = st.sampled_from(
    [b"", b"Connection: keep-alive\r\n", b"X-Request-ID: mine-1\r\n", b"Via: 1.1 a\r\nTE: trailers\r\n"]
)
ODD = st.sampled_from(
    [b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"X-Router-Preview: x\r\n"]
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    target = draw(st.sampled_from([*ANSWERS, b"/__router_none", b"/whole?__router_preview=a.1.b"]))
    kind = draw(st.sampled_from(["plain"] * 6 + ["odd", "body", "chunked", "old", "two", "bad"]))
    method = draw(st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"DELETE"])) if kind == "plain" else b"GET"
    head = b"%b %b HTTP/1.1\r\nHost: shop.test\r\n%b" % (method, target, draw(ODD if kind == "odd" else PLAIN))
    if kind == "body":
        raw = head.replace(b"GET", b"POST", 1) + b"Content-Length: 3\r\n\r\nabc"
    elif kind == "chunked":
        raw = head.replace(b"GET", b"PUT", 1) + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    elif kind == "old":
        raw = head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n"
    elif kind == "bad":
        raw = head + b"Content-Length: x\r\n\r\n"
    else:
        raw = b"\r\n" * draw(st.integers(0, 1)) + head + b"\r\n"
    cuts = draw(st.lists(st.integers(1, len(raw) - 1), max_size=2)) if draw(st.booleans()) else []
    return Request(raw, tuple(sorted(set(cuts))), method)


class Talk:
    """The talks of clients that go one way with the version."""

    def __init__(self, way: Way, upstream: RawUpstream) -> None:
        self._way = way
        self._upstream = upstream

    def talk(self, said: list[Request]) -> dict[str, Any]:
        """What the client got, what the version got, and what was recorded."""
        before = self._way.figures()
        self._upstream.exchanges.clear()
        near, far = connected()
        wire = Wire(far)
        got: list[object] = []
        talking = threading.Thread(target=_talk, args=(wire, said, got))
        talking.start()
        with gevent.Timeout(20):
            self._way.serving.serve(near, "192.0.2.1")
        talking.join(20)
        return {
            "client": got,
            "version": [(settled(one.head.raw), one.body) for one in self._upstream.exchanges],
            "figures": since(self._way.figures(), before),
            "log": self._way.new_lines(),
        }


def _talk(wire: Wire, said: list[Request], got: list[object]) -> None:
    """Sends each request and takes its answer, to the end; how chunks are cut is nobody's business."""
    try:
        for request in said:
            places = (0, *request.cuts, len(request.raw))
            for begin, end in zip(places, places[1:], strict=False):
                wire.send(request.raw[begin:end])
                sleep(0.001 if end < len(request.raw) else 0)
            if not all(_take_answer(wire, request.method, got) for _ in range(request.answers)):
                break
        wire.finish_writing()
        got.append(wire.read_to_end())
    except (OSError, Truncated, Broken) as error:
        got.append(type(error).__name__)
    finally:
        wire.close()


def _take_answer(wire: Wire, method: bytes, got: list[object]) -> bool:
    while True:
        head = wire.read_head()
        if head is None:
            return False
        got.append(settled(head.raw))
        status = int(head.start_line.split()[1])
        if status >= 200:
            break
    if method == b"HEAD" or status in (204, 304):
        return True
    if head.value(b"Transfer-Encoding"):
        chunked = wire.read_chunked()
        got.append((chunked.body, chunked.trailers))
    elif (length := head.value(b"Content-Length")) is not None:
        got.append(wire.read_exactly(int(length)))
    else:
        got.append(wire.read_to_end())
    return True


@pytest.fixture
def ways(tmp_path: Path, upstream: RawUpstream) -> Iterator[tuple[Talk, Talk]]:
    upstream.handler = handle
    made = two_ways(tmp_path, upstream.port)
    yield Talk(made[0], upstream), Talk(made[1], upstream)
    for way in made:
        way.close()
    upstream.faults.clear()  # what a client has broken is passed on, or not


def alike(ways: tuple[Talk, Talk], said: list[Request]) -> dict[str, Any]:
    on, off = (way.talk(said) for way in ways)
    assert on == off
    return on


@settings(suppress_health_check=list(HealthCheck), max_examples=120, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=4))
def test_both_ways_give_and_record_the_same(ways: tuple[Talk, Talk], said: list[Request]) -> None:
    alike(ways, said)


def get(target: bytes, *lines: bytes) -> Request:
    return Request(b"GET %b HTTP/1.1\r\nHost: shop.test\r\n%b\r\n" % (target, b"".join(lines)))


@pytest.mark.parametrize("target", ANSWERS)
def test_each_answer_is_the_same_on_a_connection_that_was_used(ways: tuple[Talk, Talk], target: bytes) -> None:
    found = alike(ways, [get(b"/whole"), get(target), get(b"/whole")])
    assert found["client"][1] == b"whole"
    assert found["log"]


def test_pipelined_requests_are_answered_in_order(ways: tuple[Talk, Talk]) -> None:
    three = get(b"/whole").raw + get(b"/empty").raw + get(b"/parted").raw
    found = alike(ways, [get(b"/whole"), Request(three, (len(three) - 9,), answers=3)])
    assert [line["status"] for line in found["log"]] == [200, 200, 500, 200]


@pytest.mark.sources
def test_ordinary_requests_stay_in_the_lane(ways: tuple[Talk, Talk], monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[object] = []
    proceed = lane_module.Lane._proceed

    def noted(lane: lane_module.Lane, what: Any) -> None:
        left.append(what)
        proceed(lane, what)

    monkeypatch.setattr(lane_module.Lane, "_proceed", noted)
    ways[0].talk([get(b"/whole")])  # it opens the connection to the version
    left.clear()
    found = ways[0].talk([get(b"/whole"), get(b"/no-content"), get(b"/empty"), get(b"/whole")])
    assert [line["status"] for line in found["log"]] == [200, 204, 500, 200]
    assert left == [None], "the client's goodbye, and nothing before it"


@pytest.mark.sources
def test_plain_get_enters_few_frames_in_the_lane(ways: tuple[Talk, Talk]) -> None:
    """From its bytes to the answer's last one, reading the head and recording included."""
    entered: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(ROOT / "app")):
            entered.append(f"{name}: {frame.f_code.co_qualname}")

    ways[0].talk([get(b"/whole")])
    sleep(0.1)  # a state file that has just been written is read again
    gevent.get_hub().loop.run_callback(lambda: sys.setprofile(profile))
    try:
        ways[0].talk([get(b"/whole")] * 8)
    finally:
        gevent.get_hub().loop.run_callback(lambda: sys.setprofile(None))
        gevent.sleep(0)
        sys.setprofile(None)
    begins = [number for number, name in enumerate(entered) if name.endswith("Lane._take_request")]
    fewest = min((entered[begin:end] for begin, end in zip(begins, begins[1:], strict=False)), key=len)
    assert len(fewest) <= FRAMES, "\n".join(fewest)
