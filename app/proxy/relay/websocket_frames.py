"""One direction of a WebSocket through the proxy, which can be ended between two frames."""

from __future__ import annotations

from app.protocol.websocket import FrameTracker
from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint

__all__ = ["Way"]


class Way:
    """Passes frames on to one side, until it is told to end with a Close frame of its own.

    Args:
        target: the side that the frames go to.
        close: the Close frame for it.

    Attributes:
        is_over: no frame is passed on any more: a Close frame was sent, ours or the other side's.
    """

    __slots__ = ("_close", "_is_asked", "_is_sending", "_target", "_tracker", "is_over")

    def __init__(self, target: Endpoint, close: bytes) -> None:
        self._target = target
        self._close = close
        self._tracker = FrameTracker()
        self._is_sending = False
        self._is_asked = False
        self.is_over = False

    @property
    def has_closed(self) -> bool:
        """Whether the side that the frames come from has sent its Close frame."""
        return self._tracker.has_closed

    def end(self) -> None:
        """Sends the Close frame now, or where the frame under way ends."""
        self._is_asked = True
        if not self._is_sending and not self.is_over and self._tracker.at_boundary:
            self.is_over = True
            # A few bytes between two frames: a buffer that is too full even for them is not worth waiting for.
            if not self._tracker.has_closed:
                self._target.send_some(self._close)

    def pass_on(self, data: bytes, sending: Deadlines) -> bool:
        """Passes bytes on; returns False when they are of no interest any more. Raises OSError, Expired."""
        tracker = self._tracker
        if self._is_asked:
            return self._pass_last(data, sending)
        tracker.feed(data)
        self._is_sending = True
        self._target.send(data, sending)
        self._is_sending = False
        if self._is_asked:  # meanwhile
            self.end()
        return True

    def _pass_last(self, data: bytes, sending: Deadlines) -> bool:
        """The end of the frame under way, then the Close frame; what follows is only looked at for a Close."""
        if self.is_over:
            self._tracker.feed(data)
            return False
        end = self._tracker.end_in(data)
        if end < 0:
            self._tracker.feed(data)
            self._target.send(data, sending)
            return True
        self.is_over = True
        self._tracker.feed(data[:end])
        last = b"" if self.has_closed else self._close
        self._tracker.feed(data[end:])
        self._target.send(data[:end] + last, sending)
        return not self.has_closed
