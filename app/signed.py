"""Short texts that only who has a key can have made, each for one purpose and until some time.

    SAID.EXPIRES.SEAL    green.1795449320.u9Xo…   (wall time in seconds; base64url of HMAC-SHA256)

What one says anyone can read. Of a seal only its one spelling is accepted: decoding it first, as `itsdangerous` does,
would let through some that were changed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

__all__ = ["sign", "verify"]

_LONGEST = 128
"""Ours have some 65 characters; a longer text is not even looked at."""


def sign(key: bytes, purpose: bytes, said: str, expires_at: float) -> str:
    """A text that says `said` until `expires_at`, wall time in seconds.

    `purpose` keeps it from being one for anything else, should the key ever be used twice.
    """
    told = f"{said}.{int(expires_at)}"
    return f"{told}.{_seal(key, purpose, told)}"


def verify(key: bytes, purpose: bytes, text: str, now: float) -> str | None:
    """What a text says at `now`; None when it is not ours, was changed, has expired, or there is no key."""
    told, _, seal = text.rpartition(".")
    if not key or len(text) > _LONGEST or not text.isascii():
        return None
    # In a time that does not tell how much of the seal was right.
    if not hmac.compare_digest(seal, _seal(key, purpose, told)):
        return None
    said, _, expires_at = told.rpartition(".")
    return said if now < int(expires_at) else None  # sealed by us, so it has the form that `sign` gives it


def _seal(key: bytes, purpose: bytes, told: str) -> str:
    digest = hmac.digest(key, purpose + told.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
