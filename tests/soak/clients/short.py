"""Requests that are over at once: GETs and POSTs over kept connections."""

from __future__ import annotations

from tests.soak.clients.asking import Client
from tests.soak.seen import Seen

__all__ = ["Gets", "Posts", "Refusals"]


class Gets(Client):
    """Asks who answers."""

    kind = "get"

    def ask(self, seen: Seen) -> None:
        body = self.exchange(seen, "GET /now HTTP/1.1")
        if not seen.error and body.decode() != seen.version:
            seen.error = f"wrong body {body[:80]!r}"


class Posts(Client):
    """Has its key executed, which must never happen twice."""

    kind = "post"

    def ask(self, seen: Seen) -> None:
        payment = self.random.randbytes(100)
        body = self.exchange(seen, f"POST /pay HTTP/1.1\r\nX-Key: {seen.id}\r\nContent-Length: 100", payment)
        if not seen.error and body != payment:
            seen.error = f"wrong body {body[:80]!r}"


class Refusals(Client):
    """Sends what the application answers unread, to close the connection then: no other request may come to harm."""

    kind = "refusal"
    expected = 413

    def ask(self, seen: Seen) -> None:
        size = self.random.choice((10, 5_000, 200_000))
        self.exchange(seen, f"POST /refused HTTP/1.1\r\nContent-Length: {size}", bytes(size))
