"""One value out of a request's head."""

from __future__ import annotations

from app.protocol.request import RequestHead

__all__ = ["cookie_in", "field_in"]


def field_in(head: RequestHead, wanted: bytes) -> bytes:
    """The value of the first field of a name, which is given in lower case; b"" without one."""
    for name, value in head.fields:
        if name.lower() == wanted:
            return value
    return b""


def cookie_in(head: RequestHead, name: bytes) -> bytes:
    """The value of a cookie as it came (RFC 6265 §4.2.1); b"" without one."""
    for field, value in head.fields:
        if field.lower() == b"cookie":
            for pair in value.split(b";"):
                found, _, content = pair.strip().partition(b"=")
                if found == name:
                    return content
    return b""
