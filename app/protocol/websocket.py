"""Where WebSocket frames begin and end (RFC 6455 §5.2), seen from outside: payloads are counted, never looked at."""

from __future__ import annotations

__all__ = ["SERVICE_RESTART", "FrameTracker", "close_frame"]

SERVICE_RESTART = 1012
"""The close code for "come back in a moment" (IANA WebSocket Close Code Number Registry)."""

_CLOSE = 0x8
_FINAL = 0x80
_MASKED = 0x80
_LENGTH_BYTES = {126: 2, 127: 8}


class FrameTracker:
    """Follows one direction of a WebSocket through its bytes, in whatever parts they come.

    Any bytes are frames of some kind, so nothing here fails; what is no WebSocket has meaningless boundaries.
    """

    __slots__ = ("_head", "_is_closing", "_left")

    def __init__(self) -> None:
        self._head = b""  # the begun header of a frame
        self._left = 0  # bytes of payload still to come
        self._is_closing = False  # the last frame begun is a Close

    @property
    def at_boundary(self) -> bool:
        """Whether the last frame is complete and no other has begun."""
        return not self._left and not self._head

    @property
    def has_closed(self) -> bool:
        """Whether a whole Close frame has gone by; no frame may follow it (§5.5.1)."""
        return self._is_closing and self.at_boundary

    def feed(self, data: bytes) -> None:
        """Takes note of the next bytes."""
        size = len(data)
        at = self._left
        while at < size:
            at = self._begin(data, at)
        self._left = at - size

    def end_in(self, data: bytes) -> int:
        """How many of the next bytes belong to the frame under way: 0 at a boundary, -1 when it does not end there.

        `data` is not taken note of.
        """
        if self._left:
            return self._left if self._left <= len(data) else -1
        if not self._head:
            return 0
        ahead = FrameTracker()
        ahead._head = self._head
        at = ahead._begin(data, 0)
        return -1 if ahead._head or at > len(data) else at

    def _begin(self, data: bytes, at: int) -> int:
        """Reads the header at `at`; gives the place where its frame ends, or the end of `data` without all of it."""
        known = len(self._head)
        head = self._head + data[at : at + 14 - known]  # no header is longer
        size = _header_size(head)
        if len(head) < size:
            self._head = head
            return len(data)
        self._head = b""
        self._is_closing = head[0] & 0x0F == _CLOSE
        length = head[1] & 0x7F
        if length in _LENGTH_BYTES:
            length = int.from_bytes(head[2 : 2 + _LENGTH_BYTES[length]], "big")
        return at + size - known + length


def _header_size(head: bytes) -> int:
    """The size of a frame's header, of which the first bytes are there; more than are there when it cannot be told."""
    if len(head) < 2:
        return 2
    return 2 + _LENGTH_BYTES.get(head[1] & 0x7F, 0) + (4 if head[1] & _MASKED else 0)


def close_frame(code: int, mask: bytes = b"") -> bytes:
    """A Close frame with a code and no reason (§5.5.1).

    Args:
        mask: four random bytes for a frame towards a server, which takes no others (§5.1); none towards a client.
    """
    payload = code.to_bytes(2, "big")
    if not mask:
        return bytes((_FINAL | _CLOSE, 2)) + payload
    masked = bytes(byte ^ key for byte, key in zip(payload, mask, strict=False))
    return bytes((_FINAL | _CLOSE, _MASKED | 2)) + mask + masked
