"""A busy connection yields: nobody waits for the end of someone else's pipeline."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time

import pytest

from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess
from tests.support.wire import Wire

ROUTER_SETTINGS = {"upgrades": "flood"}

GET = b"GET /f HTTP/1.1\r\nHost: x.test\r\n\r\n"
HEALTH = b"GET /__router_health HTTP/1.1\r\nHost: x.test\r\n\r\n"

CLIENTS = 64
SMALL_MULTIPLE = 15
"""The stock gevent worker's p99 is 45 times its p50; ours must stay far below, also on a busy machine."""


def test_long_pipeline_does_not_hold_up_another_client(router: RouterProcess, upstream: RawUpstream) -> None:
    count = 400
    with router.connect() as busy, router.connect() as other:
        other.ask(GET)
        busy.send(GET * count)
        upstream.next_exchange(10)
        assert other.ask(GET).status == 200
        done = len(upstream.exchanges)
        for _ in range(count):
            busy.read_response()
    assert done < count / 2


def test_long_pipeline_for_the_router_itself_does_not_hold_up_another_client(
    router: RouterProcess, upstream: RawUpstream
) -> None:
    """These answers need no waiting for an upstream, so that only deliberate yielding helps."""
    count = 2000
    with router.connect() as busy, router.connect() as other:
        other.ask(HEALTH)
        busy.send(HEALTH * count)
        busy.read_response()
        assert other.ask(HEALTH).status == 200
        waiting = busy.take_waiting().count(b"HTTP/1.1 200")
    assert waiting < count / 2


@pytest.mark.alone
@pytest.mark.parametrize("direction", ["download", "upload", "tunnel"])
def test_flood_of_bytes_does_not_hold_up_another_client(
    router: RouterProcess, upstream: RawUpstream, direction: str
) -> None:
    """One client moves bytes as fast as it can; others are answered in between."""
    upstream.handler = serve_flood
    flooding = threading.Thread(target=FLOODS[direction], args=(router,))
    with router.connect() as other:
        other.ask(GET)
        flooding.start()
        upstream.next_exchange(2)
        waits = []
        while flooding.is_alive():
            begin = time.monotonic()
            assert other.ask(GET).status == 200
            waits.append(time.monotonic() - begin)
    flooding.join()
    assert len(waits) > 5
    assert max(waits) < 0.5


def serve_flood(exchange: Exchange) -> None:
    """Sends, takes or sends back much for targets other than /f."""
    exchange.wire.keep_received = False
    if exchange.target == b"/f":
        exchange.send(reply())
    elif exchange.target == b"/download":
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % FLOOD, bytes(FLOOD))
    elif exchange.target == b"/upload":
        drain(exchange.wire, FLOOD)
        exchange.send(reply())
    else:
        exchange.send(b"HTTP/1.1 101 Switched\r\nConnection: upgrade\r\nUpgrade: flood\r\n\r\n", bytes(FLOOD))


def drain(wire: Wire, count: int) -> None:
    """Read and forget so many bytes."""
    while count > 0:
        data = wire.read_some()
        assert data
        count -= len(data)


def download(router: RouterProcess, head: bytes = b"GET /download HTTP/1.1\r\nHost: x.test\r\n\r\n") -> None:
    """Take a large answer, or what comes through a tunnel."""
    with router.connect() as client:
        client.wire.keep_received = False
        client.send(head)
        client.read_head()
        drain(client.wire, FLOOD)


def upload(router: RouterProcess) -> None:
    """Send a large body."""
    with router.connect() as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: x.test\r\nContent-Length: %d\r\n\r\n" % FLOOD, bytes(FLOOD))
        client.read_response()


def tunnel(router: RouterProcess) -> None:
    """Take a large answer through a tunnel."""
    download(router, b"GET /t HTTP/1.1\r\nHost: x.test\r\nConnection: upgrade\r\nUpgrade: flood\r\n\r\n")


FLOOD = 256 << 20
FLOODS = {"download": download, "upload": upload, "tunnel": tunnel}


@pytest.mark.alone
def test_slowest_of_many_kept_clients_waits_a_small_multiple_of_the_median(
    router: RouterProcess, upstream: RawUpstream
) -> None:
    ratios = []
    for _ in range(3):
        latencies = sorted(hammer(router.port, requests=3000))
        p50, p99 = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
        ratios.append(p99 / p50)
        if ratios[-1] < SMALL_MULTIPLE:
            return
    raise AssertionError(f"p99/p50 in three runs: {ratios}")


def hammer(port: int, requests: int) -> list[float]:
    """Latencies in seconds of so many requests over 64 kept connections, each busy until nearly the end."""
    selector = selectors.DefaultSelector()
    begun: dict[socket.socket, float] = {}
    latencies: list[float] = []
    with contextlib.ExitStack() as stack:
        stack.callback(selector.close)
        for _ in range(CLIENTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            selector.register(client, selectors.EVENT_READ)
            begun[client] = time.monotonic()
            client.sendall(GET)
        while begun:
            for key, _ in selector.select(10):
                assert isinstance(key.fileobj, socket.socket)
                client = key.fileobj
                data = client.recv(65536)
                assert data.startswith(b"HTTP/1.1 200")
                assert data.endswith(b"\r\n\r\nok")
                now = time.monotonic()
                latencies.append(now - begun.pop(client))
                if len(latencies) + len(begun) < requests:
                    begun[client] = now
                    client.sendall(GET)
    return latencies
