"""Answers that fail midway, as servers leave them: what the client gets does not depend on how they do it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from tests.peers.peers import PEERS_PYTHON, serving
from tests.support.router_process import Settings, running_router

READ_TIMEOUT_S = 1.0

APPLICATION = """
async def application(scope, receive, send):
    async def begin(length=None):
        fields = [(b"content-type", b"text/plain")] + ([(b"content-length", length)] if length else [])
        await send({"type": "http.response.start", "status": 200, "headers": fields})

    async def go_on(body, more=False):
        await send({"type": "http.response.body", "body": body, "more_body": more})

    if scope["path"] == "/fails":
        await begin()
        await go_on(b"half", more=True)
        raise RuntimeError("midway")
    if scope["path"] == "/too-long":
        await begin(b"5")
        await go_on(b"0123456789")
    elif scope["path"] == "/too-short":
        await begin(b"5")
        await go_on(b"01")
    else:
        await begin()
        await go_on(b"well")
"""

SERVERS = {
    "daphne": "daphne -b 127.0.0.1 -p {port} broken:application",
    "uvicorn-h11": "uvicorn --lifespan off --http h11 --port {port} broken:application",
    "uvicorn-httptools": "uvicorn --lifespan off --http httptools --port {port} broken:application",
    "hypercorn": "hypercorn -b 127.0.0.1:{port} broken:application",
    "granian": "granian --interface asginl --port {port} broken:application",
}


STAYS_OPEN = {("daphne", "/fails"), ("daphne", "/too-short"), ("granian", "/too-short")}
"""Whose connection is kept open after half an answer."""

SENDS_ENOUGH = {("daphne", "/too-long"), ("granian", "/too-long")}
"""Whose client gets as much as was announced; the rest must not be the next one's answer."""


@pytest.mark.parametrize("name", SERVERS)
def test_answer_that_fails_midway_is_passed_so_far_and_then_reset(name: str, tmp_path: Path) -> None:
    settings: Settings = {"read_timeout": READ_TIMEOUT_S, "hold_timeout": 0}
    (tmp_path / "broken.py").write_text(APPLICATION)
    server = f"{PEERS_PYTHON} -m {SERVERS[name]}"
    with serving(server, tmp_path) as port, running_router(tmp_path / "router", port, **settings) as router:
        for target in ("/fails", "/too-short", "/too-long"):
            began = time.monotonic()
            with router.connect() as client:
                client.send(f"GET {target} HTTP/1.1\r\nHost: x.test\r\n\r\n".encode())
                assert client.read_head().start_line.startswith(b"HTTP/1.1 200")
                if (name, target) in SENDS_ENOUGH:
                    assert client.wire.read_exactly(5) == b"01234"
                else:
                    with pytest.raises(ConnectionResetError):
                        client.wire.read_to_end()
            assert time.monotonic() - began < 2 * READ_TIMEOUT_S
            assert router.ask(b"GET /well HTTP/1.1\r\nHost: x.test\r\n\r\n").body == b"well"
            cause = router.logged(partial(_is_about, target))["cause"]
            assert cause == _cause(name, target)
            assert (f" {cause}: " in router.log) == (cause != "none")


def _cause(name: str, target: str) -> str:
    if (name, target) in SENDS_ENOUGH:
        return "none"
    return "read_timeout" if (name, target) in STAYS_OPEN else "upstream_truncated"


def _is_about(target: str, entry: dict[str, object]) -> bool:
    return entry["path"] == target
