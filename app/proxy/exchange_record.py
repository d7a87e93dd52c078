"""One recorded exchange as a line of JSON: both heads and the first bytes of both bodies, secrets masked."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.protocol.chunked import BrokenChunks, ChunkedDecoder
from app.protocol.field_values import field_in
from app.protocol.response import Framing
from app.proxy.request_log.logged_request import LoggedRequest
from app.proxy.tape import Tape
from app.redaction import Redaction

__all__ = ["exchange_line"]

_Fields = Sequence[tuple[bytes, bytes]]


def exchange_line(done: LoggedRequest, tape: Tape, redaction: Redaction, max_body: int) -> bytes:
    """The line, with its end; `max_body` bytes of each body are in it."""
    transaction, status, cause, bytes_in, now_us = done
    request, response = transaction.request, transaction.response
    head, fields = request.head, response.fields if response is not None else ()
    is_framed = response is not None and response.framing in (Framing.CHUNKED, Framing.CLOSE) and not head.http10
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": transaction.request_id.decode("latin-1"),
        "client": request.client_address,
        "version": transaction.target.name,
        "release": transaction.target.release or None,
        "status": status,
        "cause": cause,
        "duration_ms": round((now_us - request.started_us) / 1000, 3),
        "request": {
            "method": head.method.decode("latin-1"),
            "target": redaction.address(head.target.decode("latin-1")),
            "fields": _fields(head.fields, redaction),
            "body_bytes": bytes_in,
            **_body(head.fields, tape.request, head.chunked, redaction, max_body),
        },
        "response": {
            "fields": _fields(fields, redaction),
            "body_bytes": transaction.bytes_out,
            **_body(fields, tape.answer, is_framed, redaction, max_body),
        },
    }
    return json.dumps(line).encode() + b"\n"


def _fields(fields: _Fields, redaction: Redaction) -> list[tuple[str, str]]:
    texts = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)
    return [(name, redaction.field(name, value)) for name, value in texts]


def _body(fields: _Fields, raw: bytes, is_framed: bool, redaction: Redaction, most: int) -> dict[str, Any]:
    """The members that tell of a body; one that is compressed is left out, for nobody could mask anything in it."""
    coding = field_in(fields, b"content-encoding").decode("latin-1").lower()
    if coding not in ("", "identity"):
        return {"body": None, "left_out": f"it is encoded ({coding})"}
    data = (_unframed(raw) if is_framed else raw)[:most]
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if len(data) - error.start >= 4 or not data[: error.start]:  # not just the last character, which is cut
            return {"body": b64encode(data).decode(), "base64": True}
        text = data[: error.start].decode()
    return {"body": redaction.body(field_in(fields, b"content-type").decode("latin-1"), text)}


def _unframed(raw: bytes) -> bytes:
    """What is in chunks, as far as they are there."""
    try:
        return ChunkedDecoder().feed(raw)[0]
    except BrokenChunks as broken:
        return broken.body
