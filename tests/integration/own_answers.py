"""One of every kind of answer that the router gives itself, from a real router."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from app.dashboard.paths import ASSETS, PREFIX
from app.state.preview_token import sign
from tests.support.raw_client import Response
from tests.support.raw_upstream import Exchange, RawUpstream
from tests.support.router_process import RouterProcess, Settings, free_port
from tests.support.states import put_state

__all__ = ["OWN_ANSWER_SETTINGS", "own_answers"]

TOKEN = "a-token-of-this-test"
KEY = "key-of-this-test"
OWN_ANSWER_SETTINGS: Settings = {
    "hold_timeout": 0,
    "head_timeout": 0.3,
    "read_timeout": 0.3,
    "max_body_bytes": 1000,
    "max_request_line_bytes": 512,
    "max_head_bytes": 2048,
    "max_fields": 20,
    "max_client_connections": 4,
    "admin_allow": "127.0.0.1/32",
    "admin_token": TOKEN,
}

HOST = b"Host: x.test\r\n"
BEARER = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
KINDS = {"text": b"", "page": b"Accept: text/html\r\n", "json": b"Accept: application/json\r\n"}


def get(target: str, fields: bytes = b"", method: str = "GET") -> bytes:
    """A request without a body."""
    return f"{method} {target} HTTP/1.1\r\n".encode() + HOST + fields + b"\r\n"


REFUSED = {
    "no-request-line": b"nonsense\r\n\r\n",
    "bare-lf": b"GET / HTTP/1.1\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "http-1.0": b"GET /\0 HTTP/1.0\r\n\r\n",
    "version": b"GET / HTTP/2.0\r\n\r\n",
    "connect": b"CONNECT x.test:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "trace": get("/", method="TRACE"),
    "line-too-long": get("/" + "a" * 600),
    "fields-too-large": get("/", b"X-A: " + b"a" * 3000 + b"\r\n"),
    "too-many-fields": get("/", b"X-A: 1\r\n" * 30),
    "body-too-large": get("/", b"Content-Length: 2000\r\n", "POST"),
    "head-too-slow": b"GET / HTTP/1.1\r\nHost: ",
}
"""What is refused whatever the state, and the client that is too slow."""

OWN_PAGES = {
    "health": get("/__router_health"),
    "health-head": get("/__router_health", method="HEAD"),
    "health-options": get("/__router_health", method="OPTIONS"),
    "metrics-text": get("/__router_metrics"),
    "metrics-json": get("/__router_metrics?format=json"),
    "metrics-open": get("/__router_metrics", b"Accept: application/openmetrics-text\r\n"),
    "metrics-bad": get("/__router_metrics?window=never"),
    "unknown": get("/__router_nothing"),
    "health-post": get("/__router_health", b"Content-Length: 0\r\n", "POST"),
    "metrics-delete": get("/__router_metrics", method="DELETE"),
    "page": get("/monitoring"),
    "page-head": get("/monitoring", method="HEAD"),
    "page-post": get("/monitoring", b"Content-Length: 0\r\n", "POST"),
    "frame": get(f"{PREFIX}/frame"),
    "figures": get(f"{PREFIX}/figures/none"),
    "icon": get(f"{PREFIX}/icon-blue.svg"),
    "no-icon": get(f"{PREFIX}/icon-red.svg"),
    "sign-in-get": get(f"{PREFIX}/sign-in"),
    "sign-in": get(f"{PREFIX}/sign-in", b"Content-Length: 26\r\n", "POST") + b"token=" + TOKEN.encode(),
    "sign-in-wrong": get(f"{PREFIX}/sign-in", b"Content-Length: 7\r\n", "POST") + b"token=x",
    "sign-in-too-long": get(f"{PREFIX}/sign-in", b"Content-Length: 9999\r\n", "POST"),
    "sign-out": get(f"{PREFIX}/sign-out", b"Content-Length: 0\r\n", "POST"),
    **{name: get(f"{PREFIX}/{name}") for name in ASSETS},
}


def _hangs(exchange: Exchange) -> None:
    exchange.wait_for_hang_up()


def own_answers(router: RouterProcess, upstream: RawUpstream) -> Iterator[tuple[str, bytes, Response]]:
    """Each answer with a name and the method of its request; the router needs `OWN_ANSWER_SETTINGS`."""
    for name, raw in (REFUSED | OWN_PAGES).items():
        yield name, _method(raw), router.ask(raw)
    yield from _to_a_stranger(router)
    upstream.handler = lambda exchange: exchange.close()
    yield from _in_every_kind(router, "upstream-reset")
    upstream.answers(b"nonsense")
    yield from _in_every_kind(router, "bad-answer")
    upstream.handler = _hangs
    yield from _in_every_kind(router, "read-timeout")
    router.set_state("blue", blue=free_port())
    yield from _in_every_kind(router, "connect-refused")
    yield "unhealthy", b"GET", router.ask(get("/__router_health"))
    router.set_state(None)
    yield from _in_every_kind(router, "no-active-version")
    blue, green = {"port": upstream.port}, {"port": free_port()}
    put_state(router.state_file, "blue", {"blue": blue}, maintenance={"since": time.time(), "message": "Back soon"})
    yield from _in_every_kind(router, "maintenance")
    yield "maintenance-health", b"GET", router.ask(get("/health"))
    put_state(router.state_file, "blue", {"blue": blue, "green": green}, preview_key=KEY)
    token = sign(KEY, "green", time.time() + 60)
    yield "preview-link", b"GET", router.ask(get(f"/a?__router_preview={token}"))
    yield "preview-end", b"GET", router.ask(get("/a?__router_preview=off"))
    yield "preview-refused", b"GET", router.ask(get("/a?__router_preview=forged"))
    router.set_state("blue", blue=upstream.port)


def _to_a_stranger(router: RouterProcess) -> Iterator[tuple[str, bytes, Response]]:
    """What somebody sees who is not in `admin_allow`, and one who holds too many connections."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(router.connect(source="127.0.0.2")) for _ in range(5)]
        for name, target in (("page", "/monitoring"), ("metrics", "/__router_metrics"), ("frame", f"{PREFIX}/frame")):
            yield f"{name}-to-a-stranger", b"GET", clients[0].ask(get(target))
        yield "metrics-to-a-bearer", b"GET", clients[0].ask(get("/__router_metrics", BEARER))
        yield "too-many-connections", b"GET", clients[4].read_response()


def _in_every_kind(router: RouterProcess, name: str) -> Iterator[tuple[str, bytes, Response]]:
    for kind, accept in KINDS.items():
        yield f"{name}-{kind}", b"GET", router.ask(get("/a", accept))
    yield f"{name}-head", b"HEAD", router.ask(get("/a", method="HEAD"))


def _method(raw: bytes) -> bytes:
    return raw.split(b" ")[0]
