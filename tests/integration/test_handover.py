"""After a switch, WebSockets and event streams of the old version end between two messages; other tunnels later."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.protocol.websocket import close_frame
from tests.integration.event_streams import GET, Events, Stage, staged
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x.test\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: %b\r\nConnection: Upgrade\r\n\r\n"

CLOSE_1012 = close_frame(1012)
SETTINGS = {"upgrades": "websocket, chat"}
MASK = b"\x01\x02\x03\x04"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """All hand-overs within a second, the deadline at 2.7 s."""
    with staged(tmp_path_factory.mktemp("handover"), **SETTINGS, handover_window=0.5, drain_timeout=3) as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Stage:
    for upstream in (shared.blue, shared.green):
        upstream.reset()
    shared.switch("blue")
    return shared


class Server:
    """A WebSocket server, or whatever else a tunnel leads to, that the test plays by hand."""

    def __init__(self, upstream: RawUpstream, protocol: bytes = b"websocket") -> None:
        self._is_here = threading.Event()
        self.may_end = threading.Event()
        self._protocol = protocol
        upstream.handler = self._handle

    def _handle(self, exchange: Exchange) -> None:
        exchange.send(SWITCHED % self._protocol)
        self.exchange = exchange
        self._is_here.set()
        exchange.hold(self.may_end)

    def connect(self, router: RouterProcess) -> RawClient:
        client = router.connect()
        assert client.ask(UPGRADE % self._protocol).status == 101
        assert self._is_here.wait(5)
        return client

    def read(self, count: int) -> bytes:
        return self.exchange.wire.read_exactly(count)


def unmasked(data: bytes) -> bytes:
    """A masked Close frame as a server reads it: its code."""
    assert data[:2] == b"\x88\x82"
    return bytes(byte ^ key for byte, key in zip(data[6:], data[2:6], strict=False))


@pytest.mark.alone
def test_websocket_at_rest_gets_1012_on_both_sides_and_ends(stage: Stage) -> None:
    cuts_before = stage.cuts()
    server = Server(stage.blue)
    with server.connect(stage.router) as client:
        client.send(b"\x81\x85" + MASK + b"hello")
        assert server.read(11)[-5:] == b"hello"
        stage.switch("green")
        assert client.wire.read_exactly(4) == CLOSE_1012
        assert unmasked(server.read(8)) == (1012).to_bytes(2, "big")
        client.send(b"\x88\x82" + MASK + b"\x02\xf6")
        server.exchange.send(CLOSE_1012)
        began = time.monotonic()
        assert client.how_it_ends() == "closed"
        assert time.monotonic() - began < 1, "both have said goodbye"
    assert stage.cuts() == cuts_before
    assert server.exchange.wait_for_hang_up() == "closed", "nothing after the Close frame"


def test_websocket_whose_sides_do_not_answer_ends_soon(stage: Stage) -> None:
    server = Server(stage.blue)
    with server.connect(stage.router) as client:
        stage.switch("green")
        assert client.wire.read_exactly(4) == CLOSE_1012
        assert client.how_it_ends() == "closed"


def test_frame_under_way_is_completed_before_the_close(stage: Stage) -> None:
    server = Server(stage.blue)
    with server.connect(stage.router) as client:
        server.exchange.send(b"\x82\x7e\x03\xe8" + b"x" * 400)
        assert len(client.wire.read_exactly(404)) == 404
        client.send(b"\x82\x85" + MASK[:2])
        stage.switch("green")
        assert not client.has_bytes(1.8), "no Close in the middle of a frame"
        server.exchange.send(b"y" * 600 + b"\x81\x05later")
        assert client.wire.read_exactly(604) == b"y" * 600 + CLOSE_1012
        client.send(MASK[2:] + b"hello" + b"\x81\x80" + MASK)
        received = server.read(11 + 8)
        assert (received[:11], unmasked(received[11:])) == (b"\x82\x85" + MASK + b"hello", (1012).to_bytes(2, "big"))
        assert client.how_it_ends() == "closed"


def test_frame_that_does_not_end_is_cut_at_the_deadline(stage: Stage) -> None:
    cuts_before = stage.cuts()
    server = Server(stage.blue)
    with server.connect(stage.router) as client:
        server.exchange.send(b"\x82\x7e\x03\xe8" + b"x" * 400)
        client.wire.read_exactly(404)
        stage.switch("green")
        began = time.monotonic()
        client.how_it_ends()
        assert 2 < time.monotonic() - began < 8
    assert stage.cuts() == cuts_before + 1


def test_other_tunnel_is_left_until_the_deadline(stage: Stage) -> None:
    cuts_before = stage.cuts()
    server = Server(stage.blue, b"chat/2")
    with server.connect(stage.router) as client:
        stage.switch("green")
        began = time.monotonic()
        assert not client.has_bytes(2)
        client.send(b"still")
        assert server.read(5) == b"still"
        assert client.how_it_ends() in {"closed", "reset"}
        assert time.monotonic() - began < 8
    assert stage.cuts() == cuts_before + 1


def test_websocket_of_the_active_version_stays(stage: Stage) -> None:
    server = Server(stage.green)
    stage.switch("green")
    with server.connect(stage.router) as client:
        stage.switch("blue")
        stage.switch("green")
        assert not client.has_bytes(2)
        server.exchange.send(b"\x81\x02ok")
        assert client.wire.read_exactly(4) == b"\x81\x02ok"


# --- event streams ---------------------------------------------------------------------------------------


def test_event_stream_at_rest_ends_cleanly_and_the_connection_goes_on(stage: Stage) -> None:
    events = Events(stage.blue)
    stage.green.answers(reply(b"green"))
    with events.open(stage.router) as client:
        events.send(b"data: 1\n\n")
        assert client.wire.read_chunk()[0] == b"data: 1\n\n"
        stage.switch("green")
        assert client.wire.read_chunked().body == b""
        assert client.ask(GET).body == b"green"
    assert events.exchange.wait_for_hang_up() in {"closed", "reset"}
    entry = stage.router.logged(lambda entry: entry["path"] == "/events")
    assert (entry["status"], entry["cause"]) == (200, "none")


def test_event_under_way_is_completed_before_the_end(stage: Stage) -> None:
    events = Events(stage.blue)
    with events.open(stage.router) as client:
        events.send(b"data: 1\n\ndata: 2")
        assert client.wire.read_chunk()[0] == b"data: 1\n\ndata: 2"
        stage.switch("green")
        assert not client.has_bytes(1.8), "no end in the middle of an event"
        events.send(b" and more\n\ndata: 3\n\n")
        assert client.wire.read_chunked().body == b" and more\n\n"


def test_event_that_does_not_end_is_cut_at_the_deadline(stage: Stage) -> None:
    events = Events(stage.blue)
    with events.open(stage.router) as client:
        events.send(b"data: 1")
        client.wire.read_chunk()
        stage.switch("green")
        assert client.how_it_ends() == "reset", "a cut body is never a clean end"
    stage.router.logged(lambda entry: entry["cause"] == "handover_cut")


def test_compressed_stream_and_other_bodies_are_not_touched(stage: Stage) -> None:
    events = Events(stage.blue, b"Content-Encoding: gzip\r\n")
    data = gzip.compress(b"data: 1\n\n")
    with events.open(stage.router) as client:
        events.send(data)
        client.wire.read_chunk()
        stage.switch("green")
        assert not client.has_bytes(4)
        events.exchange.send(b"0\r\n\r\n")
        assert client.wire.read_chunked().body == b""


ANSWERS = (
    b"POST /v1 HTTP/1.1\r\nHost: x.test\r\nAccept: text/event-stream\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /queue HTTP/1.1\r\nHost: x.test\r\nAccept: */*\r\n\r\n",
    b"GET /fetch HTTP/1.1\r\nHost: x.test\r\nAccept: text/event-stream\r\nCache-Control: no-store\r\n\r\n",
)


def test_stream_that_nobody_comes_back_for_is_an_answer_like_any_other(stage: Stage) -> None:
    cuts_before = stage.cuts()
    with ExitStack() as stack:
        streams = [Events(stage.blue, request=request) for request in ANSWERS]
        clients = [stack.enter_context(events.open(stage.router)) for events in streams]
        stage.switch("green")
        began = time.monotonic()
        for client in clients:
            assert not client.has_bytes(max(0.0, began + 3.5 - time.monotonic())), (
                "no end and no cut, also after the deadline"
            )
        for events, client in zip(streams, clients, strict=True):
            events.send(b"data: 1\n\n")
            events.exchange.send(b"0\r\n\r\n")
            assert client.wire.read_chunked().body == b"data: 1\n\n"
    assert stage.cuts() == cuts_before


# --- settings and stopping -------------------------------------------------------------------------------


def test_keep_leaves_everything_alone(tmp_path: Path) -> None:
    with staged(tmp_path, handover="keep", handover_window=0, drain_timeout=1) as stage:
        server = Server(stage.blue)
        with server.connect(stage.router) as client:
            stage.switch("green")
            assert not client.has_bytes(2)
            client.send(b"\x81\x80" + MASK)
            assert len(server.read(6)) == 6


@pytest.mark.alone
def test_cut_ends_everything_at_once(tmp_path: Path) -> None:
    with staged(tmp_path, **SETTINGS, handover="cut") as stage:
        server = Server(stage.blue)
        with server.connect(stage.router) as client, Server(stage.blue, b"chat/2").connect(stage.router) as other:
            began = time.monotonic()
            stage.switch("green")
            assert client.wire.read_exactly(4) == CLOSE_1012
            assert time.monotonic() - began < 1.5
            other.how_it_ends()
            assert time.monotonic() - began < 5


def test_hand_overs_are_spread_over_the_window(tmp_path: Path) -> None:
    with staged(tmp_path, handover_window=2, drain_timeout=30, workers=1) as stage:
        clients = [Server(stage.blue).connect(stage.router) for _ in range(24)]
        began = time.monotonic()
        stage.switch("green")
        ended: dict[int, float] = {}

        def look() -> bool:
            for number, client in enumerate(clients):
                if number not in ended and client.has_bytes():
                    ended[number] = time.monotonic() - began
            return len(ended) == len(clients)

        wait_until(look, "all hand-overs", 15)
        for client in clients:
            client.wire.close()
    first, last = min(ended.values()), max(ended.values())
    assert last - first > 1
    assert last < 2 + 1.5


def test_worker_that_stops_hands_over_too(tmp_path: Path) -> None:
    with staged(tmp_path, handover_window=0) as stage:
        server, events = Server(stage.blue), None
        with server.connect(stage.router) as client:
            events = Events(stage.blue)
            with events.open(stage.router) as listener:
                stage.router.reload()
                assert client.wire.read_exactly(4) == CLOSE_1012
                assert listener.wire.read_chunked().body == b""
                assert client.how_it_ends() == "closed"
