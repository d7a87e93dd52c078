"""A request body on its way from the client to the upstream."""

from __future__ import annotations

from typing import Any, Protocol

from app.errors import RequestTimeout, RouterError, UpstreamReadTimeout
from app.transport.limits import Expired, Limit
from app.transport.pipe import SPLICE_FROM_BYTES, Pipe

__all__ = ["RequestBody", "Upload"]


class RequestBody(Protocol):
    """A request body on its way: bytes come out framed as the upstream gets them.

    Attributes:
        client: the endpoint that more bytes come from, None when `take` itself waits for them.
        complete: all of it has been taken, the end of a chunked one included.
        size: bytes of it that have been taken, without framing.

    `take`, `fill` and `take_buffered` raise MalformedRequest, BodyTooLarge, RequestTimeout and ClientDisconnected.
    """

    client: Any
    complete: bool
    size: int

    @property
    def unread(self) -> int:
        """Bytes still to come that may go from socket to socket unread; 0 when they must be looked at."""
        return 0

    def take_buffered(self) -> bytes:
        """What has arrived with the head, without a system call."""

    def take(self) -> bytes:
        """The next bytes; with a `client`, those that are there without waiting, else b""."""

    def fill(self, pipe: Pipe) -> bool:
        """Moves into `pipe` what of the unread bytes is there without waiting; False when there is nothing."""
        return False


class Upload:
    """Moves a request body to the upstream: step by step before the answer's head is here, on its own after.

    Args:
        body: where the bytes come from.
        endpoint: the upstream's end.
        sending: limit of a wait for the upstream to take bytes.
        receiving: limit of a wait for the client to send some.

    Attributes:
        unsent: bytes of the body that the upstream's socket has not taken yet; there may be more in the pipe.
        consumed: more than the first part was taken, so that the request cannot be sent again.
        failed: the upstream takes no more bytes; its answer may be there all the same.
        error: what ended the upload while the answer was already on its way.
    """

    __slots__ = ("_endpoint", "_pipe", "_receiving", "_sending", "body", "consumed", "error", "failed", "unsent")

    def __init__(self, body: RequestBody, endpoint: Any, sending: Limit, receiving: Limit) -> None:
        self.body = body
        self._endpoint = endpoint
        self._sending = sending
        self._receiving = receiving
        self.unsent = b""
        self._pipe: Pipe | None = None  # only while there is something in it
        self.consumed = False
        self.failed = False
        self.error: RouterError | None = None

    @property
    def is_over(self) -> bool:
        """Nothing is left to be moved, or nobody takes it."""
        return self.failed or (self.body.complete and not self.has_unsent)

    @property
    def has_unsent(self) -> bool:
        """Whether the upstream has to take something before more can be pulled."""
        return bool(self.unsent) or self._pipe is not None

    def pull(self) -> None:
        """Takes the next bytes from the body and sends what goes without waiting."""
        if self.body.unread >= SPLICE_FROM_BYTES:
            self._pull_unread()
            return
        self.unsent = self.body.take()
        if self.unsent:
            self.consumed = True
            self.push()

    def _pull_unread(self) -> None:
        pipe = Pipe.take()
        if self.body.fill(pipe):
            self.consumed = True
            self._pipe = pipe
            self.push()
        else:
            pipe.give_back()

    def push(self) -> None:
        """Sends what goes without waiting."""
        try:
            if self._pipe is not None:
                self._drain(self._pipe)
            else:
                self.unsent = self.unsent[self._endpoint.send_some(self.unsent) :]
        except OSError:
            # RFC 9112 §9.5: it has closed. It may have answered first, so that is for the reader to find out.
            self.failed = True
            self.unsent = b""
            self._pipe = None

    def _drain(self, pipe: Pipe) -> None:
        pipe.drain(self._endpoint.fileno())
        if not pipe.held:
            pipe.give_back()
            self._pipe = None

    def run(self) -> None:
        """Moves the rest while somebody else reads the answer; raises in that greenlet what ends the exchange."""
        try:
            while not self.is_over:
                if self.has_unsent:
                    self._endpoint.wait_writable(self._sending)
                    self.push()
                else:
                    self.body.client.wait_readable(self._receiving)
                    self.pull()
        except Expired as error:
            late = RequestTimeout if error.limit is self._receiving else UpstreamReadTimeout
            self._end(late(str(error)))
        except RouterError as refusal:
            self._end(refusal)

    def _end(self, error: RouterError) -> None:
        """Tells whoever reads the answer: at once if it waits for bytes, else when it next looks."""
        self.error = error
        self._endpoint.interrupt(error, lambda: not self._endpoint.closed)
