"""A raw socket client: sends exactly the bytes it is given and reads answers with their exact heads."""

from __future__ import annotations

import re
import select
import socket
from dataclasses import dataclass
from types import TracebackType

from tests.support.wire import DEADLINE_S, Broken, Chunked, Field, Head, Wire

STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2}) ([^\x00-\x08\x0a-\x1f\x7f]*)")


@dataclass(frozen=True)
class Response:
    """A complete final answer, with the 1xx answers that came before it."""

    head: Head
    version: bytes
    status: int
    reason: bytes
    body: bytes
    framing: str
    """How the body ended: "length", "chunked", "close" or "none"."""
    trailers: tuple[Field, ...]
    interim: tuple[Head, ...]

    def value(self, name: bytes) -> bytes | None:
        """The only value of a field; None without it."""
        return self.head.value(name)

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode()


def split_status_line(line: bytes) -> tuple[bytes, int, bytes]:
    """Version, status and reason phrase of a status line; Broken when it is not one."""
    match = STATUS_LINE.fullmatch(line)
    if match is None:
        raise Broken(f"not a status line: {line!r}")
    return match[1], int(match[2]), match[3]


class RawClient:
    """One connection to a port of this machine; closes itself as a context manager."""

    def __init__(
        self, port: int, *, source: str = "127.0.0.1", deadline_s: float = DEADLINE_S, rcvbuf: int = 0
    ) -> None:
        sock = socket.socket()
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        try:
            sock.bind((source, 0))
            sock.settimeout(deadline_s)
            sock.connect(("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        self.address = sock.getsockname()
        self.wire = Wire(sock, deadline_s)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wire.close()

    def send(self, *parts: bytes) -> None:
        """Send these bytes in one go."""
        self.wire.send(b"".join(parts))

    def ask(self, *parts: bytes) -> Response:
        """Send a request and read its final answer; the method is taken from the bytes."""
        data = b"".join(parts)
        self.send(data)
        return self.read_response(data.split(b" ", 1)[0])

    def read_head(self) -> Head:
        """The head of the next answer, interim or final."""
        head = self.wire.read_head()
        if head is None:
            raise ConnectionError("the connection was closed before an answer")
        return head

    def read_response(self, method: bytes = b"GET") -> Response:
        """The next final answer with its body; Truncated or ConnectionResetError when it breaks off."""
        interim: list[Head] = []
        while True:
            head = self.read_head()
            version, status, reason = split_status_line(head.start_line)
            if status >= 200 or status == 101:
                break
            interim.append(head)
        framing = body_framing(head, method, status)
        body, trailers = self._read_body(head, framing)
        return Response(head, version, status, reason, body, framing, trailers, tuple(interim))

    def _read_body(self, head: Head, framing: str) -> tuple[bytes, tuple[Field, ...]]:
        if framing == "chunked":
            chunked: Chunked = self.wire.read_chunked()
            return chunked.body, chunked.trailers
        if framing == "length":
            return self.wire.read_exactly(int(head.value(b"Content-Length") or b"0")), ()
        return (self.wire.read_to_end() if framing == "close" else b""), ()

    def has_bytes(self, within_s: float = 0.0) -> bool:
        """Something can be read now, or within the given time; the end of the stream counts."""
        return bool(self.wire.pending()) or bool(select.select([self.wire.sock], [], [], within_s)[0])

    def take_waiting(self) -> bytes:
        """All bytes that have arrived by now, without waiting for more."""
        while select.select([self.wire.sock], [], [], 0)[0] and self.wire.fill():
            pass
        return self.wire.take(len(self.wire.pending()))

    def how_it_ends(self) -> str:
        """Wait until the router ends the connection: "closed" or "reset".

        Raises: AssertionError when more bytes come first, TimeoutError when it stays open.
        """
        try:
            rest = self.wire.read_to_end()
        except ConnectionError:
            return "reset"
        assert rest == b"", f"unexpected bytes before the end: {rest[:500]!r}"
        return "closed"


def body_framing(head: Head, method: bytes, status: int) -> str:
    """How the body of an answer is delimited (RFC 9112 §6.3)."""
    if method == b"HEAD" or status in (101, 204, 304):
        return "none"
    coding = head.value(b"Transfer-Encoding")
    if coding is not None:
        if coding != b"chunked" or head.values(b"Content-Length"):
            raise Broken(f"ambiguous framing in {head.raw!r}")
        return "chunked"
    return "close" if head.value(b"Content-Length") is None else "length"


def ask(port: int, *parts: bytes) -> Response:
    """Send one request on a connection of its own and return the answer."""
    with RawClient(port) as client:
        return client.ask(*parts)
