"""What all clients do: number a request, send it, time it, note what came of it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from random import Random

from tests.soak.seen import Seen, Sheet
from tests.support.raw_client import RawClient, body_framing, split_status_line
from tests.support.wire import Broken, Head, Truncated

__all__ = ["BROKEN", "PATIENCE_S", "Client"]

PATIENCE_S = 90.0
"""What a client waits for a byte; far above every hold, so that only a hang reaches it."""

BROKEN = (OSError, Broken, Truncated)


class Client(ABC):
    """One client with one connection, which it keeps where `keeps` says so.

    Args:
        port: the router's.
        name: unlike any other client's.
        sheet: for its records.
        random: decides about sizes and pauses.
    """

    kind: str
    keeps = True
    expected = 200
    """The status of a good answer."""
    gap_s = (0.0, 0.02)
    """The shortest and the longest time from an answer to the next request."""

    def __init__(self, port: int, name: str, sheet: Sheet, random: Random) -> None:
        self.port = port
        self.random = random
        self._name = name
        self._sheet = sheet
        self._number = 0
        self._kept: RawClient | None = None
        self._used_at = 0.0

    def ask_once(self) -> None:
        """One request and its record, then a pause."""
        self._number += 1
        seen = Seen(f"{self._name}-{self._number}", self.kind, time.monotonic())
        self.ask(seen)
        seen.end = time.monotonic()
        self._sheet.put(seen)
        time.sleep(self.random.uniform(*self.gap_s))

    @abstractmethod
    def ask(self, seen: Seen) -> None:
        """Send a request and fill in what came of it."""

    def exchange(self, seen: Seen, head: str, body: bytes = b"") -> bytes:
        """Send a request by HTTP and read its answer; gives the body, b"" when `seen` has an error.

        `head` is the request line and the fields peculiar to this request.
        """
        connection = self._connection(seen)
        if connection is None:
            return b""
        close = "" if self.keeps else "Connection: close\r\n"
        request = f"{head}\r\nHost: soak.test\r\nX-Request-ID: {seen.id}\r\n{close}\r\n".encode()
        try:
            self.send(connection, request, body)
        except OSError as error:
            seen.error = f"{error!r} while sending"  # an answer may be there all the same
        try:
            answer = connection.read_head()
        except BROKEN as error:
            seen.error = repr(error)
            seen.is_stale = seen.idle_s > 0 and not seen.found_closed and not connection.wire.used
            return self._gone(connection)
        seen.heard = time.monotonic()
        return self._read(seen, connection, answer)

    def send(self, connection: RawClient, request: bytes, body: bytes) -> None:
        """Send the head and the body."""
        connection.send(request, body)

    def _connection(self, seen: Seen) -> RawClient | None:
        kept, self._kept = self._kept, None
        if kept is not None:
            seen.idle_s = time.monotonic() - self._used_at
            if not kept.has_bytes():
                return kept
            seen.found_closed = True
            kept.wire.close()
        try:
            connection = RawClient(self.port, deadline_s=PATIENCE_S)
        except OSError as error:
            seen.error = f"{error!r} while connecting"
            return None
        connection.wire.keep_received = False
        return connection

    def _read(self, seen: Seen, connection: RawClient, head: Head) -> bytes:
        wire = connection.wire
        try:
            _, seen.status, _ = split_status_line(head.start_line)
            seen.version = (head.value(b"X-Version") or b"").decode()
            seen.instance = int(head.value(b"X-Instance") or b"0")
            seen.cause = (head.value(b"X-Router-Cause") or b"").decode()
            framing = body_framing(head, b"GET", seen.status)
            if framing == "chunked":
                body = wire.read_chunked().body
            else:
                body = wire.read_exactly(int(head.value(b"Content-Length") or b"0"))
        except BROKEN as error:
            seen.error = f"{error!r} in the body"
            return self._gone(connection)
        wire.used = 0
        if not self.keeps or head.value(b"Connection") == b"close":
            wire.close()
        else:
            self._kept, self._used_at = connection, time.monotonic()
        if seen.status != self.expected:
            seen.error = f"{seen.status} {body[:80]!r}"
        return b"" if seen.error else body

    def _gone(self, connection: RawClient) -> bytes:
        connection.wire.close()
        return b""
