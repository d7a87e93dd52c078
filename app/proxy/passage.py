"""What a login has found of a request, once for all that is asked about it."""

from __future__ import annotations

from typing import NamedTuple

from app.errors import RouterError
from app.logins.remembered import TokenClaims
from app.proxy.replies.reply import Reply

__all__ = ["NO_CLAIMS", "Passage"]

NO_CLAIMS: TokenClaims = {}


class Passage(NamedTuple):
    """How a request has passed a login, or why not.

    Attributes:
        login: the login's name, and behind a colon why it was refused: for the log.
        verdict: what the client is told; None when it may go on.
        claims: what its token says; nothing where an auth service was asked.
        request_lines: who asks, for the application; each with its CRLF.
        response_lines: cookies of the auth service, for the client.
    """

    login: str
    verdict: RouterError | Reply | None = None
    claims: TokenClaims = NO_CLAIMS
    request_lines: bytes = b""
    response_lines: bytes = b""
