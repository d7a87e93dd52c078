"""Signed tokens to see a version before it has the traffic: `blue_green_deploy preview` makes them and the router
believes them.

A token names a version and an end, and is sealed with the state file's `preview_key` (`app.signed`). It goes into a
link, `http://HOST:PORT/?__router_preview=TOKEN`, or into a field, `X-Router-Preview: TOKEN`.
"""

from __future__ import annotations

from typing import Final

from app import signed
from app.state.model import VERSIONS

__all__ = ["FIELD", "PARAMETER", "sign", "verify"]

PARAMETER: Final = "__router_preview"
"""The query parameter of a link; also the name of the cookie that the router makes of it."""

FIELD: Final = "X-Router-Preview"
"""The request field; the router takes it off before it forwards, as it does the cookie."""

_PURPOSE = b"traffic-router preview "


def sign(key: str, version: str, expires_at: float) -> str:
    """A token that shows `version` until `expires_at`, wall time in seconds."""
    return signed.sign(_bytes(key), _PURPOSE, version, expires_at)


def verify(key: str, token: str, now: float) -> str | None:
    """The version that the token shows at `now`; None when it is not ours, was changed, or has expired."""
    version = signed.verify(_bytes(key), _PURPOSE, token, now)
    return version if version in VERSIONS else None


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")  # JSON can hold half a pair
