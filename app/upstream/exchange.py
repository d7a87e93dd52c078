"""One attempt at an exchange: the request out, 1xx heads passed on, the final head in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.errors import (
    ClientDisconnected,
    RequestTimeout,
    UpstreamProtocolError,
    UpstreamReadTimeout,
    UpstreamReset,
)
from app.protocol.response import ResponseHead
from app.transport.limits import Expired, Limit
from app.upstream.connection import AnswerBody, UpstreamConnection
from app.upstream.fresh import Connections
from app.upstream.messages import UpstreamAnswer, UpstreamRequest
from app.upstream.upload import Upload

__all__ = ["PIPELINED_BYTES", "Exchange", "WaitForEither"]

WaitForEither = Callable[[Any, Any, Any], Any]
"""`app.transport.endpoint.wait_for_either`; plain Python, which has no client's endpoint, needs none."""


PIPELINED_BYTES = 65536
"""How much a client may send ahead of its turn before we stop looking whether it is still there."""


class Exchange:
    """One request on one connection. It is used once.

    Until the answer's head is here, one greenlet looks after both directions: the body as the client sends
    it, the answer as the upstream sends it, and a client that goes away.
    """

    __slots__ = (
        "_connections",
        "_connection",
        "_endpoint",
        "_reading",
        "_receiving",
        "_request",
        "_upload",
        "_wait",
    )

    def __init__(
        self,
        connections: Connections,
        connection: UpstreamConnection,
        request: UpstreamRequest,
        reading: Limit,
        receiving: Limit,
        wait: WaitForEither | None,
    ) -> None:
        self._connections = connections
        self._connection = connection
        self._endpoint = connection.endpoint
        self._request = request
        self._reading = reading
        self._receiving = receiving
        self._wait = wait
        self._upload: Upload | None = None

    @property
    def body_consumed(self) -> bool:
        """Part of the body is gone from the client's stream and cannot be sent again."""
        return self._upload is not None and self._upload.consumed

    def run(self) -> UpstreamAnswer:
        """Sends the request and returns the answer, complete up to its head.

        Raises UpstreamReset, UpstreamReadTimeout, UpstreamProtocolError, ClientDisconnected, RequestTimeout
        and what the request's body raises.
        """
        request = self._request
        try:
            self._send_first_part()
            head = self._final_head()
        except Expired as error:
            if error.limit is self._reading:
                raise UpstreamReadTimeout(
                    f"port {request.port} did not answer within {error.limit.seconds:g} s"
                ) from error
            if error.limit is self._receiving:
                raise RequestTimeout(f"no body bytes from the client for {error.limit.seconds:g} s") from error
            raise  # a limit that somebody above us has set
        except OSError as error:
            raise UpstreamReset(f"port {request.port} broke the connection: {error.strerror}") from error
        answer = UpstreamAnswer(request, head, AnswerBody(self._connection, head), self._connections)
        if self._upload is not None and not (self._upload.body.complete and not self._upload.unsent):
            answer.upload = self._upload
        return answer

    def _send_first_part(self) -> None:
        """The head, and what is here of the body, in one system call."""
        request = self._request
        body = request.raw_body
        if request.first_part is None:
            request.first_part = request.head if body is None else request.head + body.take_buffered()
        if body is None:
            self._endpoint.send(request.first_part, self._reading)
            return
        self._upload = Upload(body, self._endpoint, self._reading, self._receiving)
        if request.client is None:
            self._endpoint.send(request.first_part, self._reading)
        else:
            self._upload.unsent = request.first_part
            self._upload.push()

    def _final_head(self) -> ResponseHead:
        request = self._request
        method = request.raw_method
        while True:
            head = self._connection.take_head(method)
            if head is None:
                self._advance()
            elif head.status >= 200:
                return head
            elif head.status == 101:
                if not request.upgrades:
                    raise UpstreamProtocolError("101 Switching Protocols was not asked for")
                return head
            elif request.on_informational is not None:
                request.on_informational(head)

    def _advance(self) -> None:
        """Waits until something can be done, and does it."""
        upload = self._upload
        client = self._request.client
        if upload is None or upload.is_over:
            if client is None or len(client.buffered) > PIPELINED_BYTES:
                self._connection.more(self._endpoint.read(self._reading))
            else:
                self._wait_for_answer(client)
        elif client is None:
            self._endpoint.send(upload.body.take(), self._reading)
            upload.consumed = True
        elif upload.unsent:
            if self._endpoint.wait_writable(self._reading, or_readable=True):
                self._receive()
            else:
                upload.push()
        elif self._wait_either(client, self._endpoint, self._receiving) is client:
            upload.pull()
        else:
            self._receive()

    def _wait_for_answer(self, client: Any) -> None:
        """Waits for the upstream, with an eye on the client."""
        if self._wait_either(self._endpoint, client, self._reading) is self._endpoint:
            self._receive()
            return
        try:
            data = client.receive()
        except OSError as error:
            raise ClientDisconnected("the client broke the connection") from error
        if data == b"":
            raise ClientDisconnected("the client closed the connection")
        client.buffered += data or b""

    def _receive(self) -> None:
        data = self._endpoint.receive()
        if data is not None:
            self._connection.more(data)

    def _wait_either(self, first: Any, second: Any, limit: Limit) -> Any:
        assert self._wait is not None  # a client's endpoint comes with the way to wait for it
        return self._wait(first, second, limit)
