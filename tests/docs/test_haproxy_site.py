"""The configuration for HAProxy, in front of a real router."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from app.config import RouterConfig
from tests.docs.pages import ROOT
from tests.support.hammering import Hammering
from tests.support.raw_client import RawClient, Response
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_process import RouterProcess, Settings, free_port, running_router
from tests.support.waiting import wait_until

SITE = ROOT / "docs" / "how-to" / "haproxy" / "traffic-router.cfg"
HAPROXY = shutil.which("haproxy")

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")


class Front:
    """HAProxy in front of a router, and the version behind it."""

    def __init__(self, port: int, router: RouterProcess, upstream: RawUpstream) -> None:
        self.port = port
        self.router = router
        self.upstream = upstream

    def get(self, path: str, *fields: str, source: str = "127.0.0.1") -> Response:
        """The answer to a request through HAProxy."""
        lines = [f"GET {path} HTTP/1.1", "Host: shop.example.org", "Connection: close", *fields]
        with RawClient(self.port, source=source) as client:
            return client.ask("\r\n".join([*lines, "", ""]).encode())


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A router that trusts one proxy and lets 127.0.0.1 alone look at its own pages."""
    assert HAPROXY is not None
    folder, port = tmp_path_factory.mktemp("haproxy"), free_port()
    settings: Settings = {"forwarded_hops": 1, "admin_allow": "127.0.0.1"}
    with RawUpstream() as upstream, running_router(folder / "router", upstream.port, **settings) as router:
        upstream.answers(reply(b"blue"))
        site = SITE.read_text(encoding="utf-8").replace("bind :80", f"bind 127.0.0.1:{port}")
        (folder / "site.cfg").write_text(site.replace("127.0.0.1:5004", f"127.0.0.1:{router.port}"))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([HAPROXY, "-db", "-f", str(folder / "site.cfg")], stdout=log, stderr=log)
        try:
            made = Front(port, router, upstream)
            wait_until(lambda: process.poll() is not None or serves(made), "HAProxy", 20)
            assert process.poll() is None, (folder / "log").read_text()
            yield made
        finally:
            process.terminate()
            process.wait(20)


def serves(front: Front) -> bool:
    try:
        return front.get("/").status == 200
    except OSError:
        return False


@needs_haproxy
def test_haproxy_accepts_the_file() -> None:
    assert HAPROXY is not None
    done = subprocess.run([HAPROXY, "-c", "-f", str(SITE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_haproxy
def test_version_learns_who_the_client_is(front: Front) -> None:
    front.upstream.reset()
    front.upstream.answers(reply(b"blue"))
    assert front.get("/a%20b", "X-Forwarded-For: 203.0.113.9", source="127.0.0.7").status == 200
    head = front.upstream.only.head
    assert (head.value(b"X-Forwarded-For") or b"").split(b", ")[-2:] == [b"127.0.0.7", b"127.0.0.1"]
    assert head.value(b"X-Real-IP") == b"127.0.0.7"
    assert (head.value(b"Host"), head.value(b"X-Forwarded-Proto")) == (b"shop.example.org", b"http")


@needs_haproxy
def test_own_pages_are_judged_by_the_client_and_not_by_haproxy(front: Front) -> None:
    assert front.get("/__router_metrics").status == 200
    assert front.get("/__router_metrics", source="127.0.0.7").status == 403
    assert front.get("/__router_metrics", "X-Forwarded-For: 127.0.0.1", source="127.0.0.7").status == 403


@needs_haproxy
def test_answer_is_passed_on_as_it_comes(front: Front) -> None:
    go_on = threading.Event()

    def two_parts(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        exchange.send(b"9\r\ndata: 1\n\n\r\n")
        go_on.wait(10)
        exchange.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    front.upstream.handler = two_parts
    with RawClient(front.port) as client:
        client.send(b"GET /events HTTP/1.1\r\nHost: shop.example.org\r\nAccept: text/event-stream\r\n\r\n")
        client.wire.read_through(b"data: 1\n\n")  # before the second is sent
        go_on.set()
        client.wire.read_through(b"data: 2\n\n")


@needs_haproxy
def test_switches_under_load_lose_nothing(front: Front) -> None:
    front.upstream.reset()
    front.upstream.answers(reply(b"blue"))
    with RawUpstream() as green:
        green.answers(reply(b"green"))
        with Hammering(front.port) as clients:
            for number in range(6):
                served = (green, front.upstream)[number % 2]
                before = len(served.exchanges)
                front.router.set_state(("green", "blue")[number % 2], blue=front.upstream.port, green=green.port)
                wait_until(partial(has_more, served, before + 50), "requests to the other version", 20)
        assert clients.failures == []
        front.router.set_state("blue", blue=front.upstream.port)


def has_more(upstream: RawUpstream, count: int) -> bool:
    return len(upstream.exchanges) > count


def test_haproxy_waits_longer_than_the_router() -> None:
    found = re.search(r"timeout server (\d+)s", SITE.read_text(encoding="utf-8"))
    assert found is not None
    assert int(found[1]) > RouterConfig().read_timeout
