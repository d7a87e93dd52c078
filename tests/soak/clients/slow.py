"""Requests that take their time: slow answers, event streams and uploads."""

from __future__ import annotations

import hashlib
import time

from tests.soak.clients.asking import Client
from tests.soak.seen import Seen
from tests.support.raw_client import RawClient

__all__ = ["EventStreams", "Streams", "Uploads"]

PIECES = 8


class Streams(Client):
    """Reads an answer that takes one to three seconds; every line has to be there."""

    kind = "stream"
    keeps = False

    def ask(self, seen: Seen) -> None:
        lines = self.random.randint(10, 30)
        body = self.exchange(seen, f"GET /stream?lines={lines} HTTP/1.1")
        if not seen.error and body.decode() != "".join(f"{number}\n" for number in range(lines)):
            seen.error = f"wrong body {body[:80]!r}"


class EventStreams(Client):
    """Reads events. As an EventSource, which after a switch may find them ended early, but only between two of them; or
    as who has called an interface, which gets them all.
    """

    kind = "events"
    keeps = False

    def ask(self, seen: Seen) -> None:
        lines = self.random.randint(10, 40)
        comes_back = self.random.random() < 0.5
        accept = "text/event-stream" if comes_back else "*/*"
        body = self.exchange(seen, f"GET /events?lines={lines} HTTP/1.1\r\nAccept: {accept}")
        if seen.error:
            return
        *events, rest = body.decode().split("\n\n")
        if rest or events != [f"id: {number}\ndata: {seen.version}" for number in range(len(events))]:
            seen.error = f"ended within an event, or one was lost: {body[-80:]!r}"
        elif len(events) < lines and not comes_back:
            seen.error = f"ended well after {len(events)} of {lines} events"


class Uploads(Client):
    """Sends a body bit by bit."""

    kind = "upload"

    def ask(self, seen: Seen) -> None:
        body = self.random.randbytes(self.random.randint(PIECES, 400_000))
        digest = self.exchange(seen, f"PUT /upload HTTP/1.1\r\nContent-Length: {len(body)}", body)
        if not seen.error and digest.decode() != hashlib.sha256(body).hexdigest():
            seen.error = "the application received something else"

    def send(self, connection: RawClient, request: bytes, body: bytes) -> None:
        connection.send(request)
        size = len(body) // PIECES
        pieces = [body[begin : begin + size] for begin in range(0, len(body), size)]
        for piece in pieces:
            connection.send(piece)
            time.sleep(self.random.uniform(0, 0.1))
