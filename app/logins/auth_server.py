"""An auth service that is asked about each request, by the convention of Traefik's ForwardAuth.

Authelia, authentik and oauth2-proxy speak it, and what was written for nginx' auth_request as a rule: a request without
a body tells in X-Forwarded-* what is asked for, with the client's own fields, and a 2xx lets it pass.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gevent import Timeout

from app.address import Address, is_name
from app.errors import ClientDisconnected, OutOfDescriptors, PoolExhausted, UpstreamError
from app.logins.refusals import Refused
from app.protocol.fields import Field
from app.protocol.forwarding import Forwarding
from app.protocol.path_patterns import path_of
from app.protocol.request import RequestHead
from app.transport.deadlines import Deadlines
from app.transport.endpoint import wait_for_either
from app.transport.limits import Expired
from app.transport.names import look_up
from app.upstream.adapter import UpstreamAdapter
from app.upstream.exchange import ExchangeTimeouts
from app.upstream.messages import UpstreamRequest, UpstreamResponse
from app.upstream.pool import ConnectionPool
from app.upstream.session import UpstreamSession

__all__ = ["MAX_BODY_BYTES", "AuthAnswer", "AuthServer"]

MAX_BODY_BYTES = 65_536
"""Of an answer that is passed back to the client; a page to log in at is shorter."""

_POOL = 100
_IDLE_S = 30.0
_LOOK_UP_S = 30.0
"""How long what a name stands for is taken for true."""

_NOT_SENT = frozenset(
    # Of the body, which is not sent; of the answer, which shall be no 304 and no part; and what only we say.
    b"host|content-length|content-encoding|content-type|transfer-encoding|expect|range|if-range|if-match|"
    b"if-none-match|if-modified-since|if-unmodified-since|x-forwarded-method|x-forwarded-uri".split(b"|")
)


class AuthAnswer(NamedTuple):
    """What the auth service says: its fields but those of the connection, and its body."""

    status: int
    fields: list[Field]
    body: bytes

    @property
    def lets_pass(self) -> bool:
        """Whether the request may go on."""
        return 200 <= self.status < 300

    def values(self, name: bytes) -> list[bytes]:
        """The values of a field, whose name is in lower case."""
        return [value for own_name, value in self.fields if own_name.lower() == name]


class AuthServer:
    """One auth service, with connections of its own that are used again.

    Args:
        url: `http://HOST[:PORT]/PATH`.
        timeout_s: for one answer, all of it.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        self._host = "127.0.0.1" if host == "localhost" else host
        self._port = parts.port or 80
        self._authority = parts.netloc.encode()
        self._target = (parts.path or "/").encode() + (b"?" + parts.query.encode() if parts.query else b"")
        self._timeout_s = timeout_s
        self._deadlines = Deadlines(timeout_s)
        self._session: UpstreamSession | None = None
        self._address = Address("")
        self._looked_at = 0.0

    def ask(self, head: RequestHead, forwarding: Forwarding, client: Any) -> AuthAnswer:
        """Asks about a request; `client` is its connection, watched meanwhile, or None.

        Raises Refused when there is no answer in time that tells who may, and ClientDisconnected.
        """
        try:
            with Timeout(self._timeout_s):
                session = self._open()
                message = UpstreamRequest(
                    self._address, b"GET", self._target, self._head(head, forwarding), None, client
                )
                response = session.send(message)
                try:
                    answer = self._taken(response)
                finally:
                    response.discard()
            if answer.status < 500:
                return answer
            reason = f"status {answer.status}"
        except (Timeout, Expired):
            reason = f"no complete answer within {self._timeout_s:g} s"
        except ClientDisconnected:
            raise
        except (UpstreamError, PoolExhausted, OutOfDescriptors, OSError) as error:
            reason = str(error)
        raise Refused("auth_server_down", f"auth service {self._authority.decode()}: {reason}")

    def _open(self) -> UpstreamSession:
        """Its connections, to the address that its name has now. Raises OSError when it has none."""
        session, now = self._session, monotonic()
        is_known = not is_name(self._host) or now - self._looked_at < _LOOK_UP_S
        if session is not None and is_known:
            return session
        host = look_up(self._host)[0] if is_name(self._host) else self._host
        self._looked_at = now
        address = Address(host, self._port)
        if session is None or address != self._address:
            waits = self._deadlines
            pool = ConnectionPool(address, _POOL, waits, _IDLE_S)
            session = UpstreamSession(UpstreamAdapter(pool, ExchangeTimeouts(waits, waits, waits, wait_for_either)))
            self._session, self._address = session, address
        return session

    def _head(self, head: RequestHead, forwarding: Forwarding) -> bytes:
        """The head of the request that asks; the client's forwarding fields are in it as far as they are trusted."""
        forwarded = forwarding.lines(head)
        dropped = set(head.dropped)
        kept = b"".join(
            b"%b: %b\r\n" % (name, value)
            for index, (name, value) in enumerate(head.fields)
            if index not in dropped and name.lower() not in _NOT_SENT
        )
        return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b%bX-Forwarded-Method: %b\r\nX-Forwarded-Uri: %b\r\n\r\n" % (
            self._target,
            self._authority,
            kept,
            forwarded,
            head.method,
            path_of(head.target),
        )

    def _taken(self, response: UpstreamResponse) -> AuthAnswer:
        """The answer as a whole; of a body that is too long, nothing."""
        head, stream = response.head, response.stream
        body = b""
        while (part := stream.receive(self._deadlines)) and len(body) <= MAX_BODY_BYTES:
            body += part
        response.end()
        dropped = set(head.dropped)
        fields = [(name, value) for index, (name, value) in enumerate(head.fields) if index not in dropped]
        return AuthAnswer(head.status, fields, body if len(body) <= MAX_BODY_BYTES else b"")
