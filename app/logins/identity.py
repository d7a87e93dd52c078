"""The fields that tell an application who asks: taken off what clients send, and written by the router alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from app.logins.remembered import TokenClaims
from app.protocol.request import RequestHead

__all__ = ["IdentityFields", "field_name", "field_lines", "plain"]

_NOT_PLAIN = re.compile(rb"[^a-z0-9]")
_OURS = b"x-auth-"
_REMEMBERED_MAX = 2048

_UNCODED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
"""Visible ASCII: anything else in a claim is percent-encoded, so that none can end its line or be read in two ways."""

_FIELD_OF_CLAIM = {"sub": "Subject"}


def plain(name: bytes) -> bytes:
    """What any application could take a field's name for: CGI and WSGI know neither case nor `_` from `-`."""
    return _NOT_PLAIN.sub(b"-", name.lower())


def field_name(claim: str) -> str:
    """The field that a claim goes into: X-Auth-Subject for `sub`, X-Auth-Preferred-Username."""
    return "X-Auth-" + (_FIELD_OF_CLAIM.get(claim) or claim.replace("_", "-").title())


def field_lines(claims: TokenClaims, wanted: Iterable[str]) -> bytes:
    """The lines for the claims that are wanted, each with its CRLF; for one that is not there, none."""
    lines = ""
    for claim in wanted:
        text = _text(claims.get(claim))
        if text:
            lines += f"{field_name(claim)}: {quote(text, safe=_UNCODED, errors='replace')}\r\n"
    return lines.encode("ascii")


def _text(value: Any) -> str:
    """A claim's value in one line; "" for what has no plain form. A list's members are parted by commas."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value).strip()
    if isinstance(value, list):
        return ",".join(filter(None, map(_text, value)))
    return ""


class IdentityFields:
    """Which fields only the router may send: X-Auth-… in whatever spelling, and those of `names`."""

    __slots__ = ("_known", "_names")

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(plain(name.encode()) for name in names)
        self._known: dict[bytes, bool] = {}

    def covers(self, name: bytes) -> bool:
        """Whether it is one, in this spelling."""
        found = self._known.get(name)
        if found is None:
            meant = plain(name)
            found = meant.startswith(_OURS) or meant in self._names
            if len(self._known) < _REMEMBERED_MAX:
                self._known[name] = found
        return found

    def are_in(self, head: RequestHead) -> bool:
        """Whether a client has sent any."""
        known = self._known
        for name, _ in head.fields:
            found = known.get(name)
            if found is None:
                found = self.covers(name)
            if found:
                return True
        return False

    def taken_off(self, raw: bytes) -> bytes:
        """A request's head without them."""
        line, *fields = raw[:-4].split(b"\r\n")
        kept = [field for field in fields if not self.covers(field.partition(b":")[0])]
        return b"\r\n".join((line, *kept)) + b"\r\n\r\n"
