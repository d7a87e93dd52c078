"""What the tests of held requests share."""

from __future__ import annotations

import json
from typing import Any

from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

HOST = b"Host: x.test\r\n"


def request(method: bytes = b"GET", target: bytes = b"/r", body: bytes = b"", fields: bytes = b"") -> bytes:
    """A request; with Content-Length when it has a body or is a POST."""
    length = b"Content-Length: %d\r\n" % len(body) if body or method == b"POST" else b""
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + fields + length + b"\r\n" + body


GET = request()
POST = request(b"POST", body=b"once")


def health(router: RouterProcess) -> dict[str, Any]:
    """The health report."""
    found: dict[str, Any] = json.loads(router.ask(request(target=b"/__router_health")).body)
    return found


def traffic(router: RouterProcess) -> dict[str, Any]:
    """What the health report says about the traffic."""
    found: dict[str, Any] = health(router)["traffic"]
    return found


def wait_held(router: RouterProcess, count: int) -> None:
    """Wait until the router's workers hold so many requests."""
    wait_until(lambda: traffic(router)["held"] == count, f"{count} held requests")
