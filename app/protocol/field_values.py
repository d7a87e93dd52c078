"""One value out of the fields of a head."""

from __future__ import annotations

from collections.abc import Sequence

from app.protocol.fields import Field

__all__ = ["cookie_in", "field_in"]


def field_in(fields: Sequence[Field], wanted: bytes) -> bytes:
    """The value of the first field of a name, which is given in lower case; b"" without one."""
    size = len(wanted)
    for name, value in fields:
        if len(name) == size and name.lower() == wanted:
            return value
    return b""


def cookie_in(fields: Sequence[Field], name: bytes) -> bytes:
    """The value of a cookie as it came (RFC 6265 §4.2.1); b"" without one."""
    for field, value in fields:
        if field.lower() == b"cookie":
            for pair in value.split(b";"):
                found, _, content = pair.strip().partition(b"=")
                if found == name:
                    return content
    return b""
