"""Reading the one small form that the router takes."""

from __future__ import annotations

from urllib.parse import parse_qsl

from flask import Request, abort

from app.proxy.client_request import ClientRequest
from app.proxy.environ import REQUEST_KEY
from app.transport.deadlines import Deadlines

__all__ = ["posted_form"]

MOST_BYTES = 4096
WAIT_S = 5.0


def posted_form(request: Request) -> dict[str, str]:
    """The fields of a URL-encoded form; aborts with 413 or 400 when it is too long or does not come.

    `wsgi.input` holds no more than what came with the head, and browsers like to send a form's body apart.
    """
    if (request.content_length or 0) > MOST_BYTES or request.content_length is None:
        abort(413)
    body = request.environ["wsgi.input"].read(request.content_length)
    message = request.environ.get(REQUEST_KEY)
    if isinstance(message, ClientRequest):
        body += _rest(message)
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def _rest(message: ClientRequest) -> bytes:
    """What is still on its way; its length was checked."""
    parts: list[bytes] = []
    limit = Deadlines(WAIT_S)
    while message.body is not None and message.endpoint is not None and not message.body.complete:
        message.endpoint.wait_readable(limit)
        parts.append(message.body.take())
    return b"".join(parts)
