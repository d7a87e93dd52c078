"""What the router says itself: short text for curl, a page for a person, JSON for a program."""

from __future__ import annotations

import html
import json
import re
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from app.errors import RouterError, UnderMaintenance
from app.protocol.request import RequestHead

__all__ = ["Reply", "accepted", "error_reply", "reply_bytes"]


class Reply(NamedTuple):
    """A response of the router's own: status and reason phrase, list of (name, value), and body."""

    status_line: str
    fields: list[tuple[str, str]]
    body: bytes


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex"><title>{status} {text}</title>
<style>:root{{color-scheme:light dark}}body{{font:16px/1.6 system-ui,sans-serif;max-width:34rem;margin:16vh auto;
padding:0 1.5rem}}h1{{font-size:1.5rem;margin:0 0 .5rem}}dl{{font-size:.85rem;opacity:.75;display:grid;
grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin-top:2rem}}dd{{margin:0;font-family:ui-monospace,
monospace;overflow-wrap:anywhere}}</style></head>
<body><h1>{text}</h1><p>{advice}</p>
<dl><dt>Status</dt><dd>{status}</dd>{inside}<dt>Request</dt><dd>{request_id}</dd></dl></body></html>
"""

_INSIDE = "<dt>Cause</dt><dd>{cause}</dd>\n<dt>Version</dt><dd>{version}</dd>"

_ADVICE = {
    429: "There were too many requests. Please try again in {soon}.",
    401: "This is only for those who have logged in.",
    503: "The service is not available just now. Please try again in {soon}.",
    502: "The service could not be reached. Please try again in a moment.",
    504: "The service took too long to answer. Please try again in a moment.",
}
_OTHER_ADVICE = "The request could not be served as it was sent."

_PLACEHOLDER = re.compile(r"\{\{(message|retry_after|request_id)\}\}")
"""What may stand in an operator's own maintenance page."""

_OFFERED = ("text/plain", "text/html", "application/json")
"""Best first for a client without preference, such as curl."""


def accepted(head: RequestHead | None) -> str:
    """The media type that the client likes best of those that we offer (RFC 9110 §12.5.1)."""
    if head is None:
        return _OFFERED[0]
    return _best_of(b",".join([value for name, value in head.fields if name.lower() == b"accept"]))


@lru_cache(maxsize=256)
def _best_of(accept: bytes) -> str:
    if not accept:
        return _OFFERED[0]
    return parse_accept_header(accept.decode("latin-1"), MIMEAccept).best_match(_OFFERED) or _OFFERED[0]


def error_reply(
    error: RouterError, head: RequestHead | None, version: str, request_id: bytes, shows_cause: bool
) -> Reply:
    """What the client is told of `error`.

    Args:
        head: the request's head, None when it could not be read.
        version: the version's name, "" when none was picked.
        shows_cause: whether the client may know the cause and the version.
    """
    shown_id = request_id.decode("latin-1")
    kind = accepted(head)
    if kind == "application/json":
        inside = {"cause": error.cause, "version": version or None} if shows_cause else {}
        said = {"error": error.text, "status": error.status, **inside, "request_id": shown_id}
        body = json.dumps(said).encode() + b"\n"
        media = "application/json"
    elif kind == "text/html":
        body = _page(error, version, shown_id, shows_cause).encode(errors="replace")
        media = "text/html; charset=utf-8"
    else:
        body = error.text.encode(errors="replace")  # an operator's words may be anything
        media = "text/plain; charset=utf-8"
    fields = [
        ("Content-Type", media),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *([("X-Router-Cause", error.cause)] if shows_cause else []),
        ("X-Request-ID", shown_id),
    ]
    if error.retry_after_s is not None:
        fields.append(("Retry-After", str(error.retry_after_s)))
    if error.allow:
        fields.append(("Allow", error.allow))
    fields += error.fields
    return Reply(_status_line(error), fields, body)


def _page(error: RouterError, version: str, request_id: str, shows_cause: bool) -> str:
    """The page for a person: our own, or for maintenance the operator's."""
    if isinstance(error, UnderMaintenance) and error.template:
        shown = {"message": error.text, "retry_after": str(error.retry_after_s), "request_id": request_id}
        # In one pass: what is filled in is not looked at again.
        return _PLACEHOLDER.sub(lambda match: html.escape(shown[match[1]]), error.template)
    return _PAGE.format(
        status=error.status,
        text=html.escape(error.text),
        advice=_ADVICE.get(error.status, _OTHER_ADVICE).format(soon=_soon(error.retry_after_s or 0)),
        inside=_INSIDE.format(cause=error.cause, version=version or "none") if shows_cause else "",
        request_id=html.escape(request_id),
    )


def _soon(seconds: int) -> str:
    """A Retry-After in a person's words."""
    if seconds < 60:
        return "a few seconds"
    if seconds < 7200:
        return "a minute" if seconds < 90 else f"{round(seconds / 60)} minutes"
    return f"{round(seconds / 3600)} hours"


def _status_line(error: RouterError) -> str:
    """Status and reason phrase, as WSGI wants them; 499 is nobody's standard."""
    phrase = error.text if error.status == 499 else HTTPStatus(error.status).phrase
    return f"{error.status} {phrase}"


def reply_bytes(reply: Reply, head: RequestHead | None, added: bytes) -> tuple[bytes, int]:
    """A whole reply as it goes to the wire, and how many bytes of it are the body.

    Args:
        reply: what is said.
        head: the request's head, None when it could not be read.
        added: further field lines, each with its CRLF.
    """
    status_line, fields, body = reply
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    if head is not None and head.method == b"HEAD":
        body = b""
    return f"HTTP/1.1 {status_line}\r\n{lines}".encode("latin-1") + added + b"\r\n" + body, len(body)
