"""A request body on its way from the client to the upstream."""

from __future__ import annotations

from typing import Any, Protocol

from app.errors import RequestTimeout, RouterError, UpstreamReadTimeout
from app.transport.limits import Expired, Limit

__all__ = ["RequestBody", "Upload"]


class RequestBody(Protocol):
    """A request body on its way: bytes come out framed as the upstream gets them.

    Attributes:
        client: the endpoint that more bytes come from, None when `take` itself waits for them.
        complete: all of it has been taken, the end of a chunked one included.

    `take` and `take_buffered` raise MalformedRequest, BodyTooLarge, RequestTimeout and ClientDisconnected.
    """

    client: Any
    complete: bool

    def take_buffered(self) -> bytes:
        """What has arrived with the head, without a system call."""

    def take(self) -> bytes:
        """The next bytes; with a `client`, those that are there without waiting, else b""."""


class Upload:
    """Moves a request body to the upstream: step by step before the answer's head is here, on its own after.

    Args:
        body: where the bytes come from.
        endpoint: the upstream's end.
        sending: limit of a wait for the upstream to take bytes.
        receiving: limit of a wait for the client to send some.

    Attributes:
        unsent: bytes taken from the body that the upstream's socket has not taken yet.
        consumed: more than the first part was taken, so that the request cannot be sent again.
        failed: the upstream takes no more bytes; its answer may be there all the same.
        error: what ended the upload while the answer was already on its way.
    """

    __slots__ = ("_endpoint", "_receiving", "_sending", "body", "consumed", "error", "failed", "unsent")

    def __init__(self, body: RequestBody, endpoint: Any, sending: Limit, receiving: Limit) -> None:
        self.body = body
        self._endpoint = endpoint
        self._sending = sending
        self._receiving = receiving
        self.unsent = b""
        self.consumed = False
        self.failed = False
        self.error: RouterError | None = None

    @property
    def is_over(self) -> bool:
        """Nothing is left to be moved, or nobody takes it."""
        return self.failed or (self.body.complete and not self.unsent)

    def pull(self) -> None:
        """Takes the next bytes from the body and sends what goes without waiting."""
        self.unsent = self.body.take()
        if self.unsent:
            self.consumed = True
            self.push()

    def push(self) -> None:
        """Sends what goes without waiting."""
        try:
            sent = self._endpoint.send_some(self.unsent)
        except OSError:
            # RFC 9112 §9.5: it has closed. It may have answered first, so that is for the reader to find out.
            self.failed = True
            self.unsent = b""
            return
        self.unsent = self.unsent[sent:]

    def run(self) -> None:
        """Moves the rest while somebody else reads the answer; raises in that greenlet what ends the exchange."""
        try:
            while not self.is_over:
                if self.unsent:
                    self._endpoint.wait_writable(self._sending)
                    self.push()
                else:
                    self.body.client.wait_readable(self._receiving)
                    self.pull()
        except Expired as error:
            late = RequestTimeout if error.limit is self._receiving else UpstreamReadTimeout
            self._end(late(str(error)))
        except RouterError as error:
            self._end(error)

    def _end(self, error: RouterError) -> None:
        """Tells whoever reads the answer: at once if it waits for bytes, else when it next looks."""
        self.error = error
        self._endpoint.interrupt(error, lambda: not self._endpoint.closed)
