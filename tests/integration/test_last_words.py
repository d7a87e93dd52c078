"""A worker that has waited for `graceful_timeout` answers whom it has not answered yet, and resets the other ones."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, Settings, running_router
from tests.support.waiting import wait_until

HOST = b"Host: x.test\r\n"
GRACEFUL_S = 1
WORDS_S = 3.0
"""What is left to a worker when `graceful_timeout` is over, with some air for a busy machine."""


def get(path: str, version: bytes = b"1.1") -> bytes:
    return b"GET /%b HTTP/%b\r\n" % (path.encode(), version) + HOST + b"\r\n"


def post(path: str, framing: bytes) -> bytes:
    return b"POST /%b HTTP/1.1\r\n" % path.encode() + HOST + framing + b"\r\n\r\n"


UPGRADE = b"GET /tunnel HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

WITHOUT_ANSWER: dict[str, bytes] = {
    "head": get("head"),
    "upload": post("upload", b"Content-Length: 1000000") + b"x" * 1000,
    "chunked-upload": post("chunked-upload", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n",
    "unread-upload": post("unread-upload", b"Content-Length: 30000000") + b"x" * 300_000,
    "interim": get("interim"),
}
"""What is sent of a request that the version has not answered when the time is over."""

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
BEGUN: dict[str, tuple[bytes, bytes]] = {
    "length": (get("length"), OK + b"Content-Length: 10\r\n\r\nabc"),
    "chunked": (get("chunked"), CHUNKED),
    "to-the-end": (get("to-the-end"), OK + b"Connection: close\r\n\r\nabc"),
    "http10": (get("http10", b"1.0"), CHUNKED),
    "events": (get("events"), OK + b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n"),
    "splice": (get("splice"), OK + b"Content-Length: 40000000\r\n\r\n" + bytes(1 << 20)),
    "early": (post("early", b"Content-Length: 10"), CHUNKED),
    "tunnel": (UPGRADE, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
}
"""A request, and the part of its answer that the version has given when the time is over."""


def handle(exchange: Exchange) -> None:
    name = exchange.target[1:].decode()
    if name in BEGUN:
        exchange.send(BEGUN[name][1])
    elif name == "interim":
        exchange.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    elif name == "upload":
        exchange.wait_for_hang_up()
    if name == "quick":
        exchange.send(reply(b"blue"))
    else:
        exchange.hold(threading.Event())


def stop(router: RouterProcess) -> None:
    router.process.terminate()


def interrupt(router: RouterProcess) -> None:
    router.process.send_signal(signal.SIGINT)


def assert_answered(router: RouterProcess, name: str, client: RawClient, connection: bytes = b"close") -> None:
    answer = client.read_response()
    assert (answer.status, answer.body) == (503, b"Service restarting"), name
    assert answer.value(b"Retry-After") == b"1", name
    assert answer.value(b"Connection") == connection, name
    assert answer.value(b"X-Router-Cause") == b"worker_stopped", name
    entry = router.logged(lambda entry: entry["path"] in (f"/{name}", "-"))
    assert (entry["status"], entry["cause"]) == (503, "worker_stopped"), name


def assert_reset(router: RouterProcess, name: str, client: RawClient) -> None:
    assert client.how_it_ends() == "reset", name
    entry = router.logged(lambda entry: entry["path"] == f"/{name}")
    status = 101 if name == "tunnel" else 200
    assert (entry["status"], entry["cause"]) == (status, "worker_stopped"), name


@pytest.mark.parametrize("end", [stop, RouterProcess.reload, interrupt], ids=["stop", "reload", "interrupt"])
def test_no_answer_begun_gets_503_and_a_begun_one_a_reset(
    blue: RawUpstream, tmp_path: Path, end: Callable[[RouterProcess], None]
) -> None:
    blue.handler = handle
    settings: Settings = {"graceful_timeout": GRACEFUL_S, "handover": "keep", "workers": 1, "hold_timeout": 60}
    with ExitStack() as stack, running_router(tmp_path, blue.port, **settings) as router:
        worker = psutil.Process(router.worker_pids[0])
        waiting = {name: stack.enter_context(router.connect()) for name in [*WITHOUT_ANSWER, "half-a-head", "held"]}
        begun = {name: stack.enter_context(router.connect()) for name in BEGUN}
        for name, sent in WITHOUT_ANSWER.items():
            waiting[name].send(sent)
        for name, (sent, _) in BEGUN.items():
            begun[name].send(sent)
            begun[name].read_head()
        waiting["half-a-head"].send(b"GET /half HTTP/1.1\r\nHos")
        assert waiting["interim"].read_head().start_line == b"HTTP/1.1 103 Early Hints"
        wait_until(lambda: len(blue.exchanges) == len(WITHOUT_ANSWER) + len(BEGUN), "all requests")
        blue.refuse()
        waiting["held"].send(get("held"))
        wait_until(lambda: router.metrics()["held"] == 1, "the held request")
        end(router)
        assert psutil.wait_procs([worker], timeout=GRACEFUL_S + WORDS_S + 30 * (end is RouterProcess.reload))[1] == []
        for name, client in waiting.items():
            assert_answered(router, name, client)
        for name, client in begun.items():
            assert_reset(router, name, client)
        assert "Traceback" not in router.log


def test_stock_worker_answers_and_never_ends_a_body_as_if_it_were_whole(blue: RawUpstream, tmp_path: Path) -> None:
    blue.handler = handle
    settings: Settings = {"graceful_timeout": GRACEFUL_S, "workers": 1}
    arguments = ("-k", "gevent")
    with ExitStack() as stack, running_router(tmp_path, blue.port, arguments=arguments, **settings) as router:
        waiting, begun = (stack.enter_context(router.connect()) for _ in range(2))
        waiting.send(get("head"))
        begun.send(get("chunked"))
        begun.read_head()
        begun.wire.read_chunk()
        wait_until(lambda: len(blue.exchanges) == 2, "both requests")
        stop(router)
        assert_answered(router, "head", waiting, b"keep-alive")  # which is for gunicorn to say
        assert begun.take_waiting() == b""
        assert begun.how_it_ends() in ("closed", "reset")
        entry = router.logged(lambda entry: entry["path"] == "/chunked")
        assert (entry["status"], entry["cause"]) == (200, "worker_stopped")
