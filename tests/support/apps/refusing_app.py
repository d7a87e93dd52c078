"""Applications that answer a request without looking at its body: `app` by WSGI, `asgi` by ASGI.

The path is the status that is answered: GET /200, POST /405.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Message = MutableMapping[str, Any]


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """By WSGI."""
    status = _status(environ["PATH_INFO"])
    start_response(f"{status} {HTTPStatus(status).phrase}", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """By ASGI, its lifespan included."""
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return
    fields = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": _status(scope["path"]), "headers": fields})
    await send({"type": "http.response.body", "body": b"ok"})


def _status(path: str) -> int:
    number = path.strip("/")
    return int(number) if number.isdigit() else 200
