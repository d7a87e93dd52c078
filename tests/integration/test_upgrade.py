"""`Upgrade`: a byte tunnel once the upstream has answered 101, an ordinary exchange otherwise."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, answering, reply
from tests.support.router_farm import Pair, RouterFarm
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

HOST = b"Host: x.test\r\n"
ROUTER_SETTINGS = {"upgrades": "websocket, foo/2"}
WEBSOCKET_FIELDS = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
AT_ONCE_S = 2.0


def upgrade(token: bytes = b"websocket", target: bytes = b"/ws", connection: bytes = b"Upgrade") -> bytes:
    """A GET that asks to switch."""
    start = b"GET " + target + b" HTTP/1.1\r\n" + HOST
    return start + b"Connection: " + connection + b"\r\nUpgrade: " + token + b"\r\n" + WEBSOCKET_FIELDS + b"\r\n"


def switch_and_echo(exchange: Exchange) -> None:
    """Switch, then send back all that comes, and the FIN too."""
    exchange.send(SWITCHED)
    exchange.wire.sock.settimeout(10)
    while data := exchange.wire.read_some():
        exchange.send(data)
    exchange.wire.finish_writing()
    exchange.close()


def open_tunnel(router: RouterProcess, target: bytes = b"/ws") -> RawClient:
    """A client whose connection has been switched."""
    client = router.connect()
    assert client.ask(upgrade(target=target)).status == 101
    return client


def test_request_to_switch_reaches_the_upstream_as_one(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = switch_and_echo
    with router.connect() as client:
        client.ask(upgrade())
    head = upstream.only.head
    assert (head.value(b"Upgrade"), (head.value(b"Connection") or b"").lower()) == (b"websocket", b"upgrade")
    assert head.value(b"Sec-WebSocket-Key") == b"dGhlIHNhbXBsZSBub25jZQ=="
    assert head.value(b"X-Forwarded-For") == b"127.0.0.1"


@pytest.mark.parametrize(
    "connection",
    [b"upgrade", b"keep-alive, Upgrade", b"Upgrade, HTTP2-Settings", b"Upgrade\r\nConnection: close"],
)
def test_upgrade_is_found_in_a_connection_list(router: RouterProcess, upstream: RawUpstream, connection: bytes) -> None:
    upstream.handler = switch_and_echo
    with router.connect() as client:
        assert client.ask(upgrade(connection=connection)).status == 101
    assert (upstream.only.head.value(b"Connection") or b"").lower() == b"upgrade"


def test_switching_answer_reaches_the_client_with_its_fields(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = switch_and_echo
    with router.connect() as client:
        answer = client.ask(upgrade())
    assert (answer.status, answer.reason) == (101, b"Switching Protocols")
    assert answer.value(b"Upgrade") == b"websocket"
    assert (answer.value(b"Connection") or b"").lower() == b"upgrade"
    assert answer.value(b"Sec-WebSocket-Accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer.head.values(b"Content-Length") == answer.head.values(b"Transfer-Encoding") == []


@pytest.mark.parametrize("token", [b"websocket", b"WebSocket", b"foo/2", b"foo/2, websocket"])
def test_known_protocol_passes_in_its_spelling(router: RouterProcess, upstream: RawUpstream, token: bytes) -> None:
    upstream.answers(SWITCHED.replace(b"websocket", token.rpartition(b" ")[2]))
    with router.connect() as client:
        assert client.ask(upgrade(token)).status == 101
    assert upstream.only.head.value(b"Upgrade") == token


@pytest.mark.parametrize(
    ("token", "passed"), [(b"h2c", []), (b"foo/1", []), (b"HTTP/2.0", []), (b"foo, websocket", [b"websocket"])]
)
def test_unknown_protocol_ends_here_and_the_request_goes_on(
    router: RouterProcess, upstream: RawUpstream, token: bytes, passed: list[bytes]
) -> None:
    asked = upgrade(token, connection=b"Upgrade, HTTP2-Settings")
    answer = router.ask(asked.removesuffix(b"\r\n") + b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"ok")
    head = upstream.only.head
    assert head.values(b"Upgrade") == passed
    assert [value.lower() for value in head.values(b"Connection")] == [b"upgrade"] * len(passed)
    assert head.values(b"HTTP2-Settings") == []


@pytest.mark.parametrize("switched_to", [b"h2c", b"foo/2", b"websocket, h2c", b""])
def test_switch_to_what_was_not_asked_for_is_502(
    router: RouterProcess, upstream: RawUpstream, switched_to: bytes
) -> None:
    upstream.answers(SWITCHED.replace(b"websocket", switched_to))
    answer = router.ask(upgrade())
    assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"bad_answer")


def test_bytes_flow_both_ways_as_they_come(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = switch_and_echo
    with open_tunnel(router) as client:
        for number in range(20):
            client.send(b"ping %03d" % number)
            assert client.wire.read_exactly(8) == b"ping %03d" % number


def test_bytes_in_the_same_segment_as_the_101_belong_to_the_tunnel(
    router: RouterProcess, upstream: RawUpstream
) -> None:
    def handle(exchange: Exchange) -> None:
        exchange.send(SWITCHED + b"hello at once")
        exchange.wait_for_hang_up()

    upstream.handler = handle
    with open_tunnel(router) as client:
        assert client.wire.read_exactly(13) == b"hello at once"


def test_bytes_sent_before_the_101_belong_to_the_tunnel(router: RouterProcess, upstream: RawUpstream) -> None:
    """A client need not wait when it knows the server; the bytes are no second request."""
    upstream.handler = switch_and_echo
    with router.connect() as client:
        client.send(upgrade() + b"early bytes")
        assert client.read_response().status == 101
        assert client.wire.read_exactly(11) == b"early bytes"
    assert len(upstream.exchanges) == 1


def test_tunnel_carries_much_in_both_directions(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = switch_and_echo
    payload = bytes(range(256)) * 16384
    with open_tunnel(router) as client:
        sender = threading.Thread(target=client.send, args=(payload,))
        sender.start()
        assert client.wire.read_exactly(len(payload)) == payload
        sender.join(10)


def test_half_close_of_the_client_leaves_the_other_direction_open(router: RouterProcess, upstream: RawUpstream) -> None:
    def handle(exchange: Exchange) -> None:
        exchange.send(SWITCHED)
        assert exchange.wire.read_to_end() == b"question"
        exchange.send(b"answer after the end")
        exchange.close()

    upstream.handler = handle
    with open_tunnel(router) as client:
        client.send(b"question")
        client.wire.finish_writing()
        assert client.wire.read_to_end() == b"answer after the end"


def test_half_close_of_the_upstream_leaves_the_other_direction_open(
    router: RouterProcess, upstream: RawUpstream
) -> None:
    received = bytearray()

    def handle(exchange: Exchange) -> None:
        exchange.send(SWITCHED + b"bye")
        exchange.wire.finish_writing()
        received.extend(exchange.wire.read_to_end())

    upstream.handler = handle
    with open_tunnel(router) as client:
        assert client.wire.read_to_end() == b"bye"
        client.send(b"not yet")
    wait_until(lambda: bytes(received) == b"not yet", "the client's last bytes at the upstream")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_leaves_ends_the_tunnel(router: RouterProcess, upstream: RawUpstream, how: str) -> None:
    upstream.handler = switch_and_echo
    client = open_tunnel(router)
    getattr(client.wire, how)()
    assert upstream.only.connection.ended.wait(AT_ONCE_S)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_upstream_that_leaves_ends_the_tunnel(router: RouterProcess, upstream: RawUpstream, how: str) -> None:
    event = threading.Event()

    def handle(exchange: Exchange) -> None:
        exchange.send(SWITCHED)
        exchange.hold(event)
        getattr(exchange, how)()

    upstream.handler = handle
    with open_tunnel(router) as client:
        event.set()
        assert client.how_it_ends() in {"closed", "reset"}


def test_silent_tunnel_is_closed(farm: RouterFarm) -> None:
    router, upstream = farm.get(tunnel_idle_timeout=1)
    upstream.handler = switch_and_echo
    with open_tunnel(router) as client:
        assert client.how_it_ends() in {"closed", "reset"}
    assert upstream.only.connection.ended.wait(AT_ONCE_S)


@pytest.mark.parametrize("how", ["silence", "close", "reset"])
def test_connection_of_an_ended_tunnel_is_never_used_for_a_request(farm: RouterFarm, how: str) -> None:
    """Whatever ends the tunnel: a later request in it would be read by whoever speaks at its other end."""
    router, upstream = farm.get(tunnel_idle_timeout=1)

    def keep_open(exchange: Exchange) -> None:
        exchange.send(SWITCHED)
        exchange.wait_for_hang_up()

    upstream.answers_in_turn(keep_open, answering(reply(b"of its own")))
    with open_tunnel(router) as client:
        if how == "silence":
            client.how_it_ends()
        else:
            getattr(client.wire, how)()
    assert router.ask(b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n").body == b"of its own"
    assert b"/later" not in upstream.connections[0].received


def test_tunnel_with_traffic_in_one_direction_is_not_silent(farm: RouterFarm) -> None:
    router, upstream = farm.get(tunnel_idle_timeout=1)

    def tick(exchange: Exchange) -> None:
        exchange.send(SWITCHED)
        for _ in range(12):
            exchange.send(b".")
            exchange.connection.ended.wait(0.2)
        exchange.close()

    upstream.handler = tick
    with open_tunnel(router) as client:
        assert client.wire.read_to_end() == b"." * 12


def test_tunnel_outlives_read_and_response_timeouts(farm: RouterFarm) -> None:
    router, upstream = farm.get(read_timeout=0.6, response_timeout=2.5, connection_timeout=0.5)
    upstream.handler = switch_and_echo
    with open_tunnel(router) as client:
        assert not client.has_bytes(3)
        client.send(b"still here")
        assert client.wire.read_exactly(10) == b"still here"


@pytest.mark.parametrize("status", [b"200 OK", b"403 Forbidden", b"426 Upgrade Required"])
def test_declined_upgrade_is_an_ordinary_answer(router: RouterProcess, upstream: RawUpstream, status: bytes) -> None:
    upstream.answers_in_turn(answering(reply(b"no", status)), answering(reply(b"next")))
    with router.connect() as client:
        answer = client.ask(upgrade())
        assert (b"%d" % answer.status, answer.body) == (status[:3], b"no")
        assert client.ask(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n").body == b"next"
    assert len(upstream.connections) == 1


def test_pipelined_request_after_a_declined_upgrade_is_answered(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers_in_turn(answering(reply(b"no")), answering(reply(b"next")))
    with router.connect() as client:
        client.send(upgrade() + b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert [client.read_response().body for _ in range(2)] == [b"no", b"next"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET /ws HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\n\r\n", id="not-named-by-connection"),
        pytest.param(b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\n\r\n", id="no-upgrade-field"),
        pytest.param(upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"), id="http-1.0"),
    ],
)
def test_switch_that_was_not_properly_asked_for_is_502(
    router: RouterProcess, upstream: RawUpstream, request_bytes: bytes
) -> None:
    upstream.answers(SWITCHED)
    answer = router.ask(request_bytes)
    assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"bad_answer")
    head = upstream.only.head
    assert head.values(b"Upgrade") == head.values(b"Connection") == []


def test_interim_answer_before_the_switch_passes(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.answers(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + SWITCHED)
    with router.connect() as client:
        answer = client.ask(upgrade())
        assert (answer.status, len(answer.interim)) == (101, 1)


def test_upgrade_with_a_body_sends_the_body_first(router: RouterProcess, upstream: RawUpstream) -> None:
    def handle(exchange: Exchange) -> None:
        exchange.read_body()
        switch_and_echo(exchange)

    upstream.handler = handle
    request = upgrade().replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello")
    with router.connect() as client:
        client.send(request)
        assert client.read_response().status == 101
        client.send(b"tunnel")
        assert client.wire.read_exactly(6) == b"tunnel"
    assert upstream.only.body == b"hello"


def test_tunnel_is_logged_with_its_bytes(router: RouterProcess, upstream: RawUpstream) -> None:
    upstream.handler = switch_and_echo
    with open_tunnel(router, b"/counted") as client:
        client.send(b"x" * 1000)
        client.wire.read_exactly(1000)
        client.wire.finish_writing()
        client.how_it_ends()
    entry = router.logged(lambda entry: entry["path"] == "/counted")
    assert (entry["status"], entry["bytes_in"], entry["bytes_out"]) == (101, 1000, 1000)


def test_open_tunnel_counts_as_in_flight(farm: RouterFarm, pair: Pair) -> None:
    """A drain must wait for tunnels: they are claims on their version."""
    router, upstream = pair
    upstream.handler = switch_and_echo
    with open_tunnel(router):
        wait_until(lambda: in_flight(router) == 1, "one request in flight")
    wait_until(lambda: in_flight(router) == 0, "no request in flight")


def in_flight(router: RouterProcess) -> int:
    """The in-flight total of the metrics endpoint."""
    found = router.metrics()["in_flight"]
    return int(sum(found.values())) if isinstance(found, dict) else int(str(found))


def test_tunnels_leave_room_for_requests(farm: RouterFarm) -> None:
    router, upstream = farm.get(pool_size=2)
    with ExitStack() as stack:
        upstream.handler = switch_and_echo
        for _ in range(3):
            stack.enter_context(open_tunnel(router))
        upstream.handler = answering(reply(b"of its own"))
        assert router.ask(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n").body == b"of its own"
