"""Trailer fields: what may follow a chunked body."""

from __future__ import annotations

from app.protocol.fields import FieldParser, Meaning, meaning_of

__all__ = ["safe_trailers"]

_NEVER = frozenset(
    # RFC 9110 §6.5.1: framing, routing, request modifiers, authentication and content negotiation are read
    # before the body, so a recipient that merges trailers into the head must not be handed them late.
    b"authorization|cache-control|content-encoding|content-range|content-type|cookie|expect|max-forwards|"
    b"proxy-authenticate|proxy-authorization|range|set-cookie|trailer|www-authenticate".split(b"|")
)


def safe_trailers(raw: bytes) -> bytes:
    """The trailer lines that may be passed on, each with its CRLF.

    Raises ValueError when `raw`, a trailer section without its final empty line, is not one.
    """
    if not raw:
        return b""
    fields = FieldParser().parse(raw + b"\r\n")
    lines = raw.split(b"\r\n")
    kept = [
        line
        for line, (name, _) in zip(lines, fields, strict=False)
        if meaning_of(name) is Meaning.PLAIN and name.lower() not in _NEVER
    ]
    return b"".join(line + b"\r\n" for line in kept)
