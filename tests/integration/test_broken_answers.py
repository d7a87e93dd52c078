"""An answer that breaks off, or stops for good: what its client gets is the same whenever its bytes arrive."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

import pytest

from tests.corpus import Case, load
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until
from tests.support.wire import Head

READ_TIMEOUT_S = 1.0
ROUTER_SETTINGS = {"read_timeout": READ_TIMEOUT_S, "hold_timeout": 0}

GET = b"GET /broken HTTP/1.1\r\nHost: x.test\r\n\r\n"
UNFINISHED_POST = b"POST /broken HTTP/1.1\r\nHost: x.test\r\nContent-Length: 100000\r\n\r\nbegun"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH_9 = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"

Ending = Callable[[Exchange, bytes], None]


def fin(exchange: Exchange, last: bytes) -> None:
    """The end comes in the packet of the last bytes."""
    sock = exchange.wire.sock
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    exchange.send(last)
    sock.shutdown(socket.SHUT_WR)
    exchange.wait_for_hang_up()


def rst(exchange: Exchange, last: bytes) -> None:
    """A reset comes right behind them."""
    exchange.send(last)
    exchange.reset()


def stays_open(exchange: Exchange, last: bytes) -> None:
    """Nothing comes any more."""
    exchange.send(last)
    exchange.wait_for_hang_up()


def sends(pieces: list[bytes], ending: Ending) -> Callable[[Exchange], None]:
    """A version that sends these pieces, each a packet of its own, and ends the connection with the last one."""

    def handle(exchange: Exchange) -> None:
        for piece in pieces[:-1]:
            exchange.send(piece)
            time.sleep(0.02)
        ending(exchange, pieces[-1])

    return handle


def deliveries(raw: bytes) -> list[list[bytes]]:
    """The bytes in one packet; the head and then the rest; and some of the rest with the head."""
    at = raw.index(b"\r\n\r\n") + 4
    middle = (at + len(raw)) // 2
    return [[raw], [raw[:at], raw[at:]], [raw[:middle], raw[middle:]]]


def gets(client: RawClient) -> tuple[int, bytes]:
    """The status, and the body as far as it comes; the connection must be reset then."""
    head = client.read_head()
    body = b""
    with pytest.raises(ConnectionResetError):
        while True:
            if client.wire.pending():
                body += _part(client, head)
            else:
                assert client.wire.fill(), "a clean end"
    return int(head.start_line.split(b" ")[1]), body + (b"" if _is_chunked(head) else client.wire.pending())


def _is_chunked(head: Head) -> bool:
    return head.value(b"Transfer-Encoding") == b"chunked"


def _part(client: RawClient, head: Head) -> bytes:
    if _is_chunked(head):
        data = client.wire.read_chunk()[0]
        assert data, "a last chunk makes half a body a whole one"
        return data
    return client.wire.take(len(client.wire.pending()))


def entries(router: RouterProcess, count: int) -> list[tuple[object, ...]]:
    """Status, cause and bytes of each of these requests in the access log, once there are `count` of them."""

    def found() -> list[dict[str, object]]:
        return [entry for entry in router.access_log() if entry["path"] == "/broken"]

    wait_until(lambda: len(found()) >= count, "the access log's entry")
    return [(entry["status"], entry["cause"], entry["bytes_out"]) for entry in found()]


def entry_of(router: RouterProcess, method: bytes, target: bytes) -> dict[str, object]:
    """The access log's entry for that request."""
    return router.logged(lambda entry: (entry["method"], entry["path"]) == (method.decode(), target.decode()))


BROKEN = [case for case in load("responses") if case.expected["outcome"] == "truncated"]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in BROKEN])
def test_head_and_what_came_of_the_body_are_passed_before_the_reset(
    case: Case, router: RouterProcess, upstream: RawUpstream
) -> None:
    closes = case.expected.get("close", False)
    cause = case.expected.get("cause", "upstream_truncated")
    body = case.expected["body"].encode()
    before = len(entries(router, 0))
    for ending in (fin, rst) if closes else (stays_open,):
        for pieces in deliveries(case.raw):
            for request in (GET, UNFINISHED_POST) if len(pieces) == 1 else (GET,):
                upstream.handler = sends(pieces, ending)
                began = time.monotonic()
                with router.connect() as client:
                    client.send(request)
                    assert gets(client) == (200, body), f"{pieces} {ending.__name__}"
                assert time.monotonic() - began < 0.8 * READ_TIMEOUT_S, "waited for what could not come"
                before += 1
                assert entries(router, before)[-1] == (200, cause, len(body))


@pytest.mark.parametrize("request_text", [GET, UNFINISHED_POST], ids=["request-complete", "upload-goes-on"])
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["at-once", "after-interim"])
def test_bare_lf_is_a_bad_answer_at_once(
    router: RouterProcess, upstream: RawUpstream, request_text: bytes, interim: bytes
) -> None:
    for ending in (stays_open, fin, rst):
        for pieces in ([interim + b"HTTP/1.1 200 OK\n\nok"], [interim + b"HTTP/1.1 200 OK", b"\n\nok"]):
            upstream.handler = sends(pieces, ending)
            began = time.monotonic()
            with router.connect() as client:
                client.send(request_text)
                answer = client.read_response()
            assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"bad_answer")
            assert time.monotonic() - began < 0.8 * READ_TIMEOUT_S
    assert "bad_answer: a line has a bare LF: b'HTTP/1.1 200 OK\\n" in router.log


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="204"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", id="304"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", id="empty"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", id="whole"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nok", id="until-close"),
    ],
)
def test_answer_that_is_whole_at_the_end_of_its_connection_is_whole(
    router: RouterProcess, upstream: RawUpstream, raw: bytes
) -> None:
    upstream.handler = sends([raw], fin)
    assert router.ask(GET).body == raw.partition(b"\r\n\r\n")[2]


def test_answer_to_head_is_whole_without_its_body(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = sends([LENGTH_9], fin)
    assert router.ask(GET.replace(b"GET", b"HEAD")).value(b"Content-Length") == b"9"


def test_body_that_ends_with_its_connection_is_cut_by_a_reset(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = sends([b"HTTP/1.1 200 OK\r\n\r\nhalf"], rst)
    with router.connect() as client:
        client.send(GET)
        assert gets(client) == (200, b"half")


STOPPING = {
    b"/after-the-head": (LENGTH_9, b""),
    b"/length": (LENGTH_9 + b"hello", b"hello"),
    b"/chunked": (CHUNKED + b"5\r\nhello\r\n", b"hello"),
    b"/trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1", b"hello"),
    b"/until-close": (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"),
    b"/events-until-close": (EVENTS + b"\r\ndata: 1\n\n", b"data: 1\n\n"),
    b"/events": (EVENTS + CHUNKED[17:] + b"9\r\ndata: 1\n\n\r\n", b"data: 1\n\n"),
}
"""What a version sends before it says nothing any more, and the body that is in it."""


@pytest.mark.parametrize("request_text", [GET, UNFINISHED_POST], ids=["request-complete", "upload-goes-on"])
def test_answer_that_stops_for_good_holds_its_client_no_longer_than_the_read_timeout(
    router: RouterProcess, upstream: RawUpstream, request_text: bytes
) -> None:
    upstream.handler = lambda exchange: stays_open(exchange, STOPPING[exchange.target][0])
    with contextlib.ExitStack() as stack:
        clients = {target: stack.enter_context(router.connect()) for target in STOPPING}
        began = time.monotonic()
        for target, client in clients.items():
            client.send(request_text.replace(b"/broken", target))
        for target, client in clients.items():
            assert gets(client) == (200, STOPPING[target][1])
            assert READ_TIMEOUT_S <= time.monotonic() - began < 2 * READ_TIMEOUT_S
    for target, (_, body) in STOPPING.items():
        entry = entry_of(router, request_text.split(b" ")[0], target)
        assert (entry["status"], entry["cause"], entry["bytes_out"]) == (200, "read_timeout", len(body))
        about = f"{entry['method']} {target.decode()} from 127.0.0.1, blue, after {len(body)} bytes of the body"
        said = f"the answer stopped for {READ_TIMEOUT_S:g} s ({about})"
        assert f"{entry['request_id']} read_timeout: {said}" in router.log
