"""An answer that says nothing of an end promises one more on its connection; a worker that stops keeps that."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, running_router
from tests.support.waiting import wait_until

LINE = b" /slow HTTP/1.1\r\nHost: x.test\r\n"
REQUESTS = {
    "get": b"GET" + LINE + b"\r\n",
    "post": b"POST" + LINE + b"Content-Length: 3\r\n\r\nabc",
}
HEADS = {
    "length": (b"Content-Length: 3\r\n\r\na", b"bc"),
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b"2\r\nbc\r\n0\r\n\r\n"),
}


def stopping(router: RouterProcess) -> None:
    """Reload, until the worker of before takes no connection any more."""
    router.reload()
    wait_until(lambda: "Reloaded" in router.log, "the reload", 30)
    # It ends whoever it finds idle 2 s after it was told to stop.
    time.sleep(2.5)


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("framing", HEADS)
def test_connection_whose_answer_began_before_the_stop_takes_one_more_request(
    blue: RawUpstream, tmp_path: Path, method: str, framing: str
) -> None:
    go_on = threading.Event()

    def handle(exchange: Exchange) -> None:
        exchange.read_body()
        if exchange.target == b"/slow":
            begun, rest = HEADS[framing]
            exchange.send(b"HTTP/1.1 200 OK\r\n" + begun)
            go_on.wait(30)
            exchange.send(rest)
        else:
            exchange.send(reply(b"next"))

    blue.handler = handle
    with running_router(tmp_path, blue.port, workers=1, graceful_timeout=15) as router, router.connect() as client:
        worker = set(router.worker_pids)
        client.send(REQUESTS[method])
        head = client.read_head()
        assert head.value(b"Connection") is None
        stopping(router)
        go_on.set()
        body = client.wire.read_chunked().body if framing == "chunked" else client.wire.read_exactly(3)
        assert body == b"abc"
        assert worker <= set(router.worker_pids)
        answer = client.ask(b"GET /next HTTP/1.1\r\nHost: x.test\r\n\r\n")
        assert (answer.body, answer.value(b"Connection")) == (b"next", b"close")
        wait_until(lambda: worker.isdisjoint(router.worker_pids), "the end of the old worker", 2)


def test_connection_that_nobody_uses_ends_soon_after_its_last_answer(blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, workers=1, graceful_timeout=15) as router:
        with router.connect() as quiet, router.connect() as asking:
            for client in (quiet, asking):
                assert client.ask(REQUESTS["get"]).value(b"Connection") is None
            router.reload()
            while asking.ask(REQUESTS["get"]).value(b"Connection") is None:  # not told to stop yet
                time.sleep(0.01)
            assert quiet.has_bytes(10)
            assert quiet.wire.read_to_end() == b""
