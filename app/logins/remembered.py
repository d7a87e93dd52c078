"""Tokens that were found good a moment ago: to verify one anew costs more than to forward a request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["REMEMBERED", "REMEMBERED_S", "GoodToken", "Remembered", "TokenClaims"]

REMEMBERED = 4096
REMEMBERED_S = 60.0
"""How many tokens, and for how long at most: a key that was withdrawn ends what it has signed within this time."""

TokenClaims = Mapping[str, Any]
"""What a verified token says, by claim; JSON, which has no types."""


class GoodToken(NamedTuple):
    """What a verified token says, and the lines that tell the application of it, each with its CRLF."""

    claims: TokenClaims
    lines: bytes


class Remembered:
    """Good tokens by the SHA-256 of each; all times are wall seconds."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int = REMEMBERED) -> None:
        self._known: OrderedDict[bytes, tuple[float, GoodToken]] = OrderedDict()
        self._most = most

    def find(self, digest: bytes, now: float) -> GoodToken | None:
        """What a token says; None when it is not known, or not any more."""
        found = self._known.get(digest)
        if found is None:
            return None
        if now < found[0]:
            return found[1]
        del self._known[digest]
        return None

    def keep(self, digest: bytes, token: GoodToken, now: float, expires_at: float) -> None:
        """Remembers a token that was verified at `now`, for a while, and never past its own end."""
        known = self._known
        if len(known) >= self._most:
            known.popitem(last=False)  # a plain dict would look for its first entry among those that are gone
        known[digest] = min(now + REMEMBERED_S, expires_at), token

    def forget(self) -> None:
        """Has all tokens verified anew: the keys have changed."""
        self._known.clear()
