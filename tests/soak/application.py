"""The application behind the soak, once as blue and once as green: `python -m tests.soak.application PORT`.

A path instead of a port is a Unix socket's.

It writes down each execution of a POST before it answers, in one write, so that being killed loses none of them.

    GET /now        who answers             POST /pay       executes the key in X-Key
    GET /stream     numbered lines, slowly  GET /events     server-sent events
    PUT /upload     the body's SHA-256      GET /socket     a WebSocket that echoes
    POST /refused   413, and the end of a connection that was said to be kept
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.typedefs import Handler

VERSION = os.environ.get("BG_VERSION", "")
INSTANCE = int(os.environ.get("BG_INSTANCE", "1"))
WHO = {"X-Version": VERSION, "X-Instance": str(INSTANCE)}
LEDGER_NAME = "executions.jsonl"
OVERRUNS_NAME = "overruns.jsonl"
LINE_S = 0.1
"""Between two lines of a stream, two events."""


class Sockets(set[web.WebSocketResponse]):
    """Those that are open."""


class Places:
    """How many requests are here at a time. Each time in which they were more than the limit is written down."""

    def __init__(self, limit: int, overruns: Path) -> None:
        self._limit = limit
        self._overruns = overruns
        self._taken = self._most = 0
        self._since = 0.0

    def take(self) -> None:
        self._taken += 1
        if self._taken == self._limit + 1:
            self._since = time.monotonic()
        self._most = max(self._most, self._taken)

    def give_back(self) -> None:
        self._taken -= 1
        if self._taken == self._limit:
            times = {"start": self._since, "end": time.monotonic()}
            entry = {"version": VERSION, "instance": INSTANCE, "most": self._most, **times}
            self._most = 0
            with self._overruns.open("a") as file:
                file.write(json.dumps(entry) + "\n")


LEDGER = web.AppKey("ledger", int)
PLACES = web.AppKey("places", Places)
SOCKETS = web.AppKey("sockets", Sockets)


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Takes a place for each request; health checks have none."""
    if request.path == "/health":
        return await handler(request)
    request.app[PLACES].take()
    try:
        return await handler(request)
    finally:
        request.app[PLACES].give_back()


async def now(_request: web.Request) -> web.Response:
    return web.Response(text=VERSION, headers=WHO)


async def pay(request: web.Request) -> web.Response:
    body = await request.read()
    # A kill is to hit requests before and after they were executed.
    await asyncio.sleep(0.01)
    entry = {"key": request.headers["X-Key"], "version": VERSION, "at": time.monotonic()}
    os.write(request.app[LEDGER], json.dumps(entry).encode() + b"\n")
    await asyncio.sleep(0.01)
    return web.Response(body=body, headers=WHO)


async def refused(request: web.Request) -> web.StreamResponse:
    """As gunicorn's threads do with a large body: no byte of it is read, and nothing is said of closing."""
    answer = web.StreamResponse(status=413, headers={**WHO, "Content-Length": "0"})
    await answer.prepare(request)
    await answer.write_eof()
    await asyncio.sleep(0.005)
    if request.transport is not None:
        request.transport.close()
    return answer


async def upload(request: web.Request) -> web.Response:
    digest = hashlib.sha256()
    async for piece in request.content.iter_any():
        digest.update(piece)
    return web.Response(text=digest.hexdigest(), headers=WHO)


async def stream(request: web.Request) -> web.StreamResponse:
    return await _slowly(request, "text/plain", "{number}\n")


async def events(request: web.Request) -> web.StreamResponse:
    return await _slowly(request, "text/event-stream", "id: {number}\ndata: " + VERSION + "\n\n")


async def _slowly(request: web.Request, content_type: str, form: str) -> web.StreamResponse:
    answer = web.StreamResponse(headers={**WHO, "Content-Type": content_type})
    await answer.prepare(request)
    for number in range(int(request.query["lines"])):
        await answer.write(form.format(number=number).encode())
        await asyncio.sleep(LINE_S)
    await answer.write_eof()
    return answer


async def socket(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    request.app[SOCKETS].add(answer)
    try:
        await answer.send_str(f"{VERSION} {INSTANCE}")
        async for message in answer:
            if message.type is WSMsgType.TEXT:
                await answer.send_str(message.data)
    finally:
        request.app[SOCKETS].remove(answer)
    return answer


async def close_sockets(app: web.Application) -> None:
    """At the end of the process; the connections would keep it from ending."""
    for each in app[SOCKETS].copy():
        await each.close(code=WSCloseCode.GOING_AWAY)


def create() -> web.Application:
    """The application; `SOAK_FOLDER` is where both versions write down what they execute."""
    folder, limit = Path(os.environ["SOAK_FOLDER"]), int(os.environ.get("SOAK_LIMIT", "0"))
    ledger = folder / LEDGER_NAME
    app = web.Application(client_max_size=1 << 24, middlewares=[counted] if limit else [])
    app[PLACES] = Places(limit, folder / OVERRUNS_NAME)
    app[LEDGER] = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    app[SOCKETS] = Sockets()
    app.add_routes(
        [
            *(web.get(path, now) for path in ("/health", "/now")),
            web.get("/stream", stream),
            web.get("/events", events),
            web.get("/socket", socket),
            web.put("/upload", upload),
            web.post("/pay", pay),
            web.post("/refused", refused),
        ]
    )
    app.on_shutdown.append(close_sockets)
    return app


if __name__ == "__main__":
    place = sys.argv[1]
    where = {"host": "127.0.0.1", "port": int(place)} if place.isdigit() else {"path": place}
    web.run_app(create(), access_log=None, print=None, shutdown_timeout=8, **where)
