"""A strict reader of HTTP/1.1 messages for tests, independent of the router's own parser.

It accepts only the canonical form of a message, so that anything ambiguous that reaches a peer is a failed
test instead of a lenient reading of it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

DEADLINE_S = 20.0
"""How long one read may wait. Far above what any step takes, so that only a hang reaches it."""

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FIELD_LINE = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*(|[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)[ \t]*"
)
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:;[^\x00-\x08\x0a-\x1f\x7f]*)?)")

Field = tuple[bytes, bytes]


class Broken(Exception):
    """The peer sent something that is not an HTTP/1.1 message in canonical form."""


class Truncated(Exception):
    """The connection ended in the middle of a message."""


@dataclass(frozen=True)
class Head:
    """A start line and its fields as (name, value) in wire order, with the exact bytes they came in."""

    raw: bytes
    start_line: bytes
    fields: tuple[Field, ...]

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of that name, in wire order; names compare without regard to case."""
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def value(self, name: bytes) -> bytes | None:
        """The value of the only field of that name, None when there is none; Broken when it is repeated."""
        found = self.values(name)
        if len(found) > 1:
            raise Broken(f"{name!r} occurs {len(found)} times: {found!r}")
        return found[0] if found else None

    def names(self) -> list[bytes]:
        """The field names as spelled, in wire order."""
        return [name for name, _ in self.fields]


@dataclass(frozen=True)
class Chunked:
    """A chunked body taken apart: its chunks' data as framed, their extensions, and the trailer fields."""

    chunks: tuple[bytes, ...]
    extensions: tuple[bytes, ...]
    trailers: tuple[Field, ...]

    @property
    def body(self) -> bytes:
        """The chunks' data together."""
        return b"".join(self.chunks)


def parse_head(raw: bytes) -> Head:
    """Take apart a head that ends in an empty line.

    Raises: Broken for bare CR or LF, white space before a colon, folded or nameless lines, or NUL.
    """
    lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if re.search(rb"[\r\n\x00]", b"".join(lines)):
        raise Broken(f"stray CR, LF or NUL in the head {raw!r}")
    return Head(raw, lines[0], tuple(parse_field(line) for line in lines[1:]))


def parse_field(line: bytes) -> Field:
    """Split one field line into name and value, outer white space removed."""
    match = FIELD_LINE.fullmatch(line)
    if match is None:
        raise Broken(f"not a field line: {line!r}")
    return match[1], match[2]


class Wire:
    """A socket with a read buffer that keeps every byte it ever received in `received`."""

    def __init__(self, sock: socket.socket, deadline_s: float = DEADLINE_S) -> None:
        sock.settimeout(deadline_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.received = bytearray()
        self.used = 0
        self.keep_received = True
        self._buffer = bytearray()

    def fill(self) -> bool:
        """Wait for more bytes; False at the end of the stream.

        Raises: TimeoutError, ConnectionResetError.
        """
        data = self.sock.recv(262144)
        if self.keep_received:
            self.received += data
        self._buffer += data
        return bool(data)

    def pending(self) -> bytes:
        """What has been received and not read yet."""
        return bytes(self._buffer)

    def take(self, count: int) -> bytes:
        """Remove and return up to `count` buffered bytes."""
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        self.used += len(data)
        return data

    def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes; Truncated when the stream ends before."""
        while len(self._buffer) < count:
            if not self.fill():
                raise Truncated(f"{count - len(self._buffer)} of {count} bytes missing")
        return self.take(count)

    def read_some(self) -> bytes:
        """At least one byte as soon as there is one; empty at the end of the stream."""
        if not self._buffer:
            self.fill()
        return self.take(len(self._buffer))

    def read_through(self, mark: bytes) -> bytes:
        """Everything up to and including `mark`; Truncated when the stream ends before."""
        while mark not in self._buffer:
            if not self.fill():
                raise Truncated(f"stream ended before {mark!r}; had {bytes(self._buffer[:200])!r}")
        return self.take(self._buffer.index(mark) + len(mark))

    def read_to_end(self) -> bytes:
        """Everything until the peer's FIN."""
        while self.fill():
            pass
        return self.take(len(self._buffer))

    def read_head(self) -> Head | None:
        """The next message's head; None when the stream ends cleanly before its first byte."""
        if not self._buffer and not self.fill():
            return None
        return parse_head(self.read_through(b"\r\n\r\n"))

    def read_chunk(self) -> tuple[bytes, bytes]:
        """The next chunk's data and extensions; empty data for the last chunk, its trailers still unread."""
        line = self.read_through(b"\r\n")[:-2]
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            raise Broken(f"not a chunk size line: {line!r}")
        size = int(match[1], 16)
        if size == 0:
            return b"", match[2]
        data = self.read_exactly(size)
        if self.read_exactly(2) != b"\r\n":
            raise Broken("chunk data is not followed by CRLF")
        return data, match[2]

    def read_trailers(self) -> tuple[Field, ...]:
        """The trailer section after the last chunk, through its empty line."""
        fields: list[Field] = []
        while line := self.read_through(b"\r\n")[:-2]:
            fields.append(parse_field(line))
        return tuple(fields)

    def read_chunked(self) -> Chunked:
        """A whole chunked body."""
        chunks: list[bytes] = []
        extensions: list[bytes] = []
        while True:
            data, extension = self.read_chunk()
            extensions.append(extension)
            if not data:
                return Chunked(tuple(chunks), tuple(extensions), self.read_trailers())
            chunks.append(data)

    def send(self, data: bytes) -> None:
        """Send all of it; ConnectionError when the peer has gone."""
        self.sock.sendall(data)

    def finish_writing(self) -> None:
        """Send FIN and keep reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close in an orderly way (FIN), also when another thread is reading."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        """Close with RST: unsent data is thrown away (SO_LINGER of 0 s)."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def fields_block(fields: Iterable[Field]) -> bytes:
    """Field lines as bytes, without the empty line that ends the section."""
    return b"".join(name + b": " + value + b"\r\n" for name, value in fields)
