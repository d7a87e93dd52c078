"""What is kept of the bodies of one exchange, while they pass, for a recording."""

from __future__ import annotations

from app.proxy.client_request import ClientBody, ClientRequest
from app.settings.tables.router_settings import RouterConfig

__all__ = ["Tape", "TapedBody"]

_FRAMING_BYTES = 4096
"""What chunks may take beside what is in them."""


class Tape:
    """The first bytes of a request's body and of its answer's, framed as they passed.

    Args:
        room: bytes of each body that are wanted.
    """

    __slots__ = ("_room", "answer", "request")

    def __init__(self, room: int) -> None:
        self._room = room + _FRAMING_BYTES
        self.request = b""
        self.answer = b""

    def keep_request(self, data: bytes) -> None:
        """Further bytes of the request's body."""
        if len(self.request) < self._room:
            self.request += data[: self._room - len(self.request)]

    def keep_answer(self, data: bytes) -> None:
        """Further bytes of the answer's body."""
        if len(self.answer) < self._room:
            self.answer += data[: self._room - len(self.answer)]


class TapedBody(ClientBody):
    """A request body that is kept as it is passed on; it never goes from socket to socket unread."""

    __slots__ = ("_tape",)

    def __init__(self, request: ClientRequest, config: RouterConfig, tape: Tape) -> None:
        assert request.endpoint is not None
        super().__init__(request.endpoint, request.head, config.max_body_bytes, config.body_rate_floor)
        self._tape = tape

    @property
    def unread(self) -> int:
        """All bytes are looked at."""
        return 0

    def take_buffered(self) -> bytes:
        """What has arrived with the head, framed for the upstream."""
        data = super().take_buffered()
        self._tape.keep_request(data)
        return data

    def take(self) -> bytes:
        """The next bytes that are there without waiting, framed for the upstream."""
        data = super().take()
        self._tape.keep_request(data)
        return data
