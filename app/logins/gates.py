"""What opens a path: a token that is good, or an auth service that says yes."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING, Any

from app.logins.auth_server import AuthAnswer, AuthServer
from app.logins.jwks_fetch import FETCH_S
from app.logins.refusals import Refused
from app.logins.remembered import GoodToken
from app.logins.tokens import bearer_token, cookie_token
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestHead

if TYPE_CHECKING:  # PyJWT is not installed where no token is looked at
    from app.logins.key_source import KeySource
    from app.logins.verifier import Verifier

__all__ = ["ForwardGate", "TokenGate"]


class TokenGate:
    """Lets those pass who show a good token.

    Args:
        verifier: knows what a good token says.
        cookie: the name of the cookie that has it; b"" for Authorization.
        source: the keys; None where there is a shared secret.
    """

    __slots__ = ("_cookie", "_source", "_verifier")

    def __init__(self, verifier: Verifier, cookie: bytes = b"", source: KeySource | None = None) -> None:
        self._verifier = verifier
        self._cookie = cookie
        self._source = source
        if source is not None:
            source.on_change.append(verifier.forget)

    def token(self, head: RequestHead, may_wait: bool) -> GoodToken | None:
        """The good token of a request; None when keys have to be waited for first, where that may be.

        Raises Refused.
        """
        token = cookie_token(head, self._cookie) if self._cookie else bearer_token(head)
        verifier, digest, now = self._verifier, sha256(token).digest(), time()
        found = verifier.known(digest, now)
        if found is not None:
            return found
        said = verifier.read(token)
        source = self._source
        if source is None:
            return verifier.verify(token, digest, said, (), now)
        keys = source.candidates(said.key_id, said.algorithm)
        if not keys:
            if may_wait and source.may_have_news:
                return None
            if not source.has_keys:
                raise Refused("no_keys", f"there are no keys: {source.state().fault or 'not fetched yet'}")
        return verifier.verify(token, digest, said, tuple(key.public for key in keys), now)

    def wait_for_keys(self, client: Any) -> None:
        """Waits until the keys were asked for; `client`, who waits, has to bear it for these seconds."""
        if self._source is not None:
            self._source.refresh().join(2 * FETCH_S)


class ForwardGate:
    """Lets those pass whom an auth service lets pass.

    Args:
        server: is asked.
        copied: the names of the fields of its answer that go on to the application.
    """

    __slots__ = ("_copied", "_server")

    def __init__(self, server: AuthServer, copied: Sequence[str] = ()) -> None:
        self._server = server
        self._copied = tuple((name.encode(), name.lower().encode()) for name in copied)

    def ask(self, head: RequestHead, forwarding: Forwarding, client: Any) -> AuthAnswer:
        """What the auth service says of a request. Raises Refused, ClientDisconnected."""
        return self._server.ask(head, forwarding, client)

    def request_lines(self, answer: AuthAnswer) -> bytes:
        """The lines that go on to the application, each with its CRLF."""
        return b"".join(b"%b: %b\r\n" % (name, value) for name, lower in self._copied for value in answer.values(lower))
