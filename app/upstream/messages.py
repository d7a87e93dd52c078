"""What goes through a version's `requests.Session`: our request and our answer, in the shapes it knows.

`requests` prepares a request by rewriting it (path, fields, framing) and reads an answer by joining fields and
decoding bodies; a proxy must do neither. So the raw head travels beside the attributes that `requests`,
and doubles such as `responses`, look at, and those are only made when somebody does look.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import requests
from requests.structures import CaseInsensitiveDict

from app.address import Address
from app.protocol.response import ResponseHead
from app.upstream.fresh import Connections
from app.upstream.upload import RequestBody, Upload
from app.upstream.upstream_connection import ResponseBody, UpstreamConnection

__all__ = ["Begun", "UpstreamRequest", "UpstreamResponse"]


class Begun(NamedTuple):
    """How far an exchange has come that somebody else has begun.

    Attributes:
        connection: where; None when there is only a fault.
        unsent: what of the request's head is still to be sent.
        received: what came last, b"" at the end of the stream; None while nothing has.
        fault: what ended the wait, to be raised as if it had come up in the exchange.
        has_written: some of the request may have been delivered.
    """

    connection: UpstreamConnection | None
    unsent: bytes = b""
    received: bytes | None = None
    fault: BaseException | None = None
    has_written: bool = True


class UpstreamRequest(requests.PreparedRequest):
    """One request to a version.

    Args:
        address: where it is sent.
        method, target: as the client sent them.
        head: all bytes of the head.
        body: None when there is none.
        client: the client's endpoint, watched for its going away while the answer is awaited; or None.
        passes_informational: 1xx heads are sent on to the client.
        upgrades: the protocols that the request asks for, of which a 101 names one; b"" for none.

    Attributes:
        first_part: the bytes that are sent first, kept so that they can be sent again; None before.
        times_written: on how many connections that failed some of it was written.
        begun: the exchange that is to be gone on with; None where it begins anew.
        has_others: another backend would take it as well, so it is not sent to the same one again.
    """

    begun: Begun | None = None
    has_others = False

    def __init__(
        self,
        address: Address,
        method: bytes,
        target: bytes,
        head: bytes,
        body: RequestBody | None = None,
        client: Any = None,
        passes_informational: bool = False,
        upgrades: bytes = b"",
    ) -> None:
        # Not super().__init__(): it makes the containers below for each request, and nobody looks at them.
        self.address = address
        self.raw_method = method
        self.raw_target = target
        self.head = head
        self.raw_body = body
        self.client = client
        self.passes_informational = passes_informational
        self.upgrades = upgrades
        self.first_part: bytes | None = None
        self.times_written = 0

    def continue_from(self, earlier: UpstreamRequest) -> None:
        """Makes this the next attempt at what `earlier`, the same request with perhaps another head, began.

        Of the body, what `earlier` has taken goes out again, and with it what has arrived in the meantime:
        an exchange only waits for bytes that are still in the socket. Raises what reading the body raises.
        """
        self.times_written = earlier.times_written
        if earlier.first_part is not None and self.raw_body is not None:
            self.first_part = self.head + earlier.first_part[len(earlier.head) :] + self.raw_body.take_buffered()

    @property
    def method(self) -> str:  # type: ignore[override]  # requests has an attribute; ours is made on demand
        """The method as text."""
        return self.raw_method.decode("latin-1")

    @property
    def url(self) -> str:  # type: ignore[override]  # as above
        """The address as `requests` would write it."""
        return f"http://{self.address.authority}{self.raw_target.decode('latin-1')}"

    @property
    def headers(self) -> CaseInsensitiveDict[str]:  # type: ignore[override]  # as above
        """The fields as a mapping, for doubles that match on them."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        pairs = (line.partition(":") for line in lines)
        return CaseInsensitiveDict((name, value.strip()) for name, _, value in pairs)

    @property  # type: ignore[override]  # as above
    def body(self) -> bytes | None:
        """The whole body, read now; None without one."""
        if self.raw_body is None or "body_read" in self.__dict__:
            return self.__dict__.get("body_read")
        taken = []
        while not self.raw_body.complete:
            taken.append(self.raw_body.take())
        self.body = b"".join(taken)
        return self.body

    @body.setter
    def body(self, value: bytes | None) -> None:
        """Keeps what was read: it cannot be read twice, and `responses` puts back what it has looked at."""
        self.__dict__["body_read"] = value


class UpstreamResponse(requests.Response):
    """The answer of a version, its body still on the way.

    Attributes:
        head: the checked head.
        stream: the body, decoded as it arrives.
        upload: what is left of the request's body when the answer came first, else None.
        connections: where its connection belongs; None once that is given back.
    """

    # What `requests.Response.__init__` would make anew for each answer, a cookie jar included, and nobody uses.
    _content: Any = False
    _content_consumed = False
    encoding = None

    def __init__(
        self,
        request: UpstreamRequest,
        head: ResponseHead,
        stream: ResponseBody,
        connections: Connections,
        upload: Upload | None = None,
    ) -> None:
        self.request = request
        self.head = head
        self.status_code = head.status
        self.stream = stream
        self.upload = upload
        self.connections: Connections | None = connections

    @classmethod
    def ended(cls, head: ResponseHead) -> Self:
        """One of which nothing is to come, and whose connection is given back."""
        response = cls.__new__(cls)
        response.head = head
        response.status_code = head.status
        response.upload = None
        response.connections = None
        return response

    @property
    def reason(self) -> str:  # type: ignore[override]  # made on demand
        """The reason phrase as text."""
        return self.head.reason.decode("latin-1")

    @property
    def headers(self) -> CaseInsensitiveDict[str]:  # type: ignore[override]  # made on demand
        """The fields as a mapping; of a repeated one, the last."""
        return CaseInsensitiveDict(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in self.head.fields
        )

    def end(self) -> None:
        """Gives the connection back: for another exchange if nothing is left on it, else to be closed.

        More than once is harmless.
        """
        connections, self.connections = self.connections, None
        if connections is None:
            return
        stream = self.stream
        # Nothing may be left that a later exchange could take for its own answer.
        is_clean = stream.complete and not stream.connection.endpoint.buffered
        if is_clean and self.head.keep_alive and self.upload is None:
            connections.release(stream.connection)
        else:
            connections.discard(stream.connection)

    def take_connection(self) -> UpstreamConnection:
        """The connection, taken out of its pool for good: who takes it closes it."""
        if self.connections is not None:
            connections, self.connections = self.connections, None
            connections.part_with(self.stream.connection)
        return self.stream.connection

    def discard(self) -> None:
        """Gives the connection back to be closed. More than once is harmless."""
        if self.connections is not None:
            connections, self.connections = self.connections, None
            connections.discard(self.stream.connection)
