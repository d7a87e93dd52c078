"""Signed permits to see a version before it has the traffic: `blue_green_deploy preview` makes them and the
router believes them.

A permit names a version and an end, and is sealed with the state file's `preview_key`:

    VERSION.EXPIRES.SEAL    green.1795449320.u9Xo…   (wall time in seconds; base64url of HMAC-SHA256)

It goes into a link, `http://HOST:PORT/?__router_preview=TOKEN`, or into a field, `X-Router-Preview: TOKEN`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from app.state.model import VERSIONS

__all__ = ["FIELD", "PARAMETER", "sign", "verify"]

PARAMETER: Final = "__router_preview"
"""The query parameter of a link; also the name of the cookie that the router makes of it."""

FIELD: Final = "X-Router-Preview"
"""The request field; the router takes it off before it forwards, as it does the cookie."""

_PURPOSE = b"traffic-router preview "
"""Keeps a seal of ours from being one for anything else, should the key ever be used twice."""

_LONGEST = 128
"""A token has some 65 characters; a longer text is not even looked at."""


def sign(key: str, version: str, expires_at: float) -> str:
    """A token that shows `version` until `expires_at`, wall time in seconds; what it says anyone can read."""
    said = f"{version}.{int(expires_at)}"
    return f"{said}.{_seal(key, said)}"


def verify(key: str, token: str, now: float) -> str | None:
    """The version that the token shows at `now`; None when it is not ours, was changed, or has expired."""
    said, _, seal = token.rpartition(".")
    if not key or len(token) > _LONGEST or not token.isascii():
        return None
    # In a time that does not tell how much of the seal was right.
    if not hmac.compare_digest(seal, _seal(key, said)):
        return None
    version, _, expires_at = said.rpartition(".")
    # Sealed by us, so it has the form that `sign` gives it.
    return version if version in VERSIONS and now < int(expires_at) else None


def _seal(key: str, said: str) -> str:
    digest = hmac.digest(key.encode("utf-8", "surrogatepass"), _PURPOSE + said.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
