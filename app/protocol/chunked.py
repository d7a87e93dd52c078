"""The chunked transfer coding (RFC 9112 §7.1): decoding what arrives in any split, and encoding."""

from __future__ import annotations

import re

from app.protocol.fields import fault_in_lines

__all__ = ["LAST_CHUNK", "BrokenChunks", "ChunkedDecoder", "encode_chunk", "encode_last_chunk"]

LAST_CHUNK = b"0\r\n\r\n"

_SIZE_LINE_MAX = 1024
"""Bound on a chunk's size line with its extensions. Extensions carry nothing that anyone reads, but an
unbounded one is a way to keep a proxy busy (CVE-2023-39326 in Go's net/http, which now bounds them too)."""

_EXTENSIONS_MAX = 16384
"""Bound on the extensions of all chunks together: one-byte chunks that each carry a long one are the same attack."""

_TRAILER_MAX = 16384
"""Bound on the trailer section; trailers are checksums and timings, a few hundred bytes."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
"""1*HEXDIG and extensions without controls; 16 digits are more than any counter below needs."""

_SIZE_LINE_BEGUN = re.compile(
    rb"(?:[0-9A-Fa-f]{1,16}(?:[ \t]*|(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r?))?",
)
"""Every beginning of such a line, up to its CR."""


class BrokenChunks(ValueError):
    """The coding is broken.

    Args:
        body: the body's bytes that came before that and were not given out yet.
    """

    def __init__(self, fault: str, body: bytes) -> None:
        super().__init__(fault)
        self.body = body


class ChunkedDecoder:
    """Takes bytes, gives the body's bytes; knows when the message has ended and what follows it.

    Attributes:
        done: the terminating empty line has been read.
        trailers: the raw trailer section, `Name: value\\r\\n` lines without the final empty line.
    """

    __slots__ = ("_extensions", "_left", "_pending", "done", "trailers")

    def __init__(self) -> None:
        self._left = -1  # bytes of the current chunk's data still to come; -1: a size line comes next
        self._pending = b""
        self._extensions = 0
        self.done = False
        self.trailers = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns (body bytes, what follows the message). The second is empty until `done`.

        Raises BrokenChunks, at the first byte that shows it, for a bad size line, a chunk without its CRLF, a bare
        CR or LF, or a section beyond its bound. Nothing may be fed after that.
        """
        if self._pending:
            data = self._pending + data
            self._pending = b""
        pieces: list[bytes] = []
        position = 0
        end = len(data)
        while not self.done:
            if self._left > 0:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            try:
                following = self._framing(data, position, end)
            except ValueError as error:
                raise BrokenChunks(str(error), b"".join(pieces)) from error
            if following < 0:
                self._pending = data[position:]
                break
            position = following
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return body, data[position:] if self.done else b""

    def _framing(self, data: bytes, position: int, end: int) -> int:
        """Reads the framing at `position`; returns the position after it, or -1 when more bytes are needed."""
        if self._left == 0:
            if end - position < 2:
                if data[position:end] not in (b"", b"\r"):
                    raise ValueError("chunk data is not followed by CRLF")
                return -1
            if data[position : position + 2] != b"\r\n":
                raise ValueError("chunk data is not followed by CRLF")
            self._left = -1
            return position + 2
        if self._left == -1:
            return self._size_line(data, position)
        return self._trailer_section(data, position)

    def _size_line(self, data: bytes, position: int) -> int:
        eol = data.find(b"\n", position, position + _SIZE_LINE_MAX)
        if eol < 0:
            if len(data) - position >= _SIZE_LINE_MAX:
                raise ValueError(f"chunk size line is longer than {_SIZE_LINE_MAX} bytes")
            if _SIZE_LINE_BEGUN.fullmatch(data, position) is None:
                raise ValueError("invalid chunk size line")
            return -1
        # Not `data[eol - 1 : eol]`: with eol = 0 its bounds are out of order, for which compiled code has no slice.
        match = _SIZE_LINE.fullmatch(data, position, eol - 1) if data.startswith(b"\r\n", max(0, eol - 1)) else None
        if match is None:
            raise ValueError("invalid chunk size line")
        size = int(match[1], 16)
        if size >> 62:
            raise ValueError("chunk size is too large")
        self._extensions += match.end() - match.end(1)
        if self._extensions > _EXTENSIONS_MAX:
            raise ValueError(f"chunk extensions are longer than {_EXTENSIONS_MAX} bytes")
        self._left = size or -2  # -2: the trailer section comes next
        return eol + 1

    def _trailer_section(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            self.done = True
            return position + 2
        ending = data.find(b"\r\n\r\n", position, position + _TRAILER_MAX)
        if ending < 0:
            fault = fault_in_lines(data, position)
            if fault:
                raise ValueError(f"trailer section: {fault}")
            if len(data) - position >= _TRAILER_MAX:
                raise ValueError(f"trailer section is longer than {_TRAILER_MAX} bytes")
            return -1
        self.trailers = data[position : ending + 2]
        self.done = True
        return ending + 4


def encode_chunk(data: bytes) -> bytes:
    """`data`, which must not be empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last_chunk(trailers: bytes) -> bytes:
    """The last chunk with a raw trailer section, which may be empty."""
    return b"0\r\n%b\r\n" % trailers
