"""Why a login is refused, in one table; the client is not told, the log and the figures have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.errors import LoginForbidden, LoginRefused, LoginUnavailable, RouterError

__all__ = ["OUTCOMES", "REASONS", "Refused"]

REASONS: Final[Mapping[str, type[RouterError]]] = {
    "no_token": LoginRefused,
    "ambiguous": LoginRefused,  # two tokens in one request: the application might read the other one
    "malformed": LoginRefused,  # not three parts, not base64url, no JSON, or too long
    "algorithm": LoginRefused,
    "critical": LoginRefused,  # the token must not be accepted by who does not know an extension of it (`crit`)
    "unknown_key": LoginRefused,
    "signature": LoginRefused,
    "expired": LoginRefused,
    "not_yet": LoginRefused,  # `nbf` or `iat` is in the future
    "issuer": LoginRefused,
    "audience": LoginRefused,
    "claims": LoginRefused,  # `exp`, `iss` or `aud` is missing, or a claim is not what it must be
    "scope": LoginForbidden,
    "auth_server": LoginRefused,  # the auth service said no, with an answer of its own
    "no_keys": LoginUnavailable,
    "auth_server_down": LoginUnavailable,
}
"""What the client is told, by reason."""

OUTCOMES: Final = ("passed", *REASONS, *(f"would be {reason}" for reason in REASONS))
"""What is counted: also what a login that observes only would have refused."""


class Refused(Exception):
    """A login that is refused.

    Args:
        reason: one of `REASONS`.
        about: the same in more words, for the log.
    """

    def __init__(self, reason: str, about: str) -> None:
        super().__init__(about)
        self.reason = reason
