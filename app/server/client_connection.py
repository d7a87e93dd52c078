"""One client connection: its requests, one after the other, until one side has had enough."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING, Any

from gevent import get_hub, getcurrent

from app.errors import (
    BodyTooLarge,
    FieldsTooLarge,
    MalformedRequest,
    RequestLineTooLong,
    RequestTimeout,
    RouterError,
    WorkerStopped,
)
from app.protocol.fields import fault_in_lines
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestHead
from app.proxy.client_request import ClientBody, ClientRequest
from app.proxy.environ import REQUEST_KEY
from app.proxy.forwarder import WsgiResponse
from app.server.lane import Lane
from app.server.wsgi import WsgiAnswer
from app.transport.endpoint import Endpoint, yield_to_loop
from app.transport.limits import Expired

if TYPE_CHECKING:
    from app.server.serving import Serving

__all__ = ["ClientConnection", "Wsgi"]

Wsgi = Callable[[dict[str, Any], Any], Any]

LINGER_S = 10.0
"""How long we read on from a client that we have answered for the last time: closing with unread bytes would
reset the connection and might destroy the answer on its way (RFC 9112 §9.6)."""


class ClientConnection:
    """Serves the requests of one connection.

    Args:
        endpoint: the client's end.
        peer: its address, as text.
        serving: what all connections of the worker share.
        wsgi: the application that they are for.
        has_lane: ordinary requests are served without a switch to its greenlet (`app.server.lane`).

    Attributes:
        forwarding: writes its forwarding fields.
        request: the one that is being served.
    """

    __slots__ = (
        "_endpoint",
        "_greenlet",
        "_lane",
        "_serving",
        "_start_response",
        "_wsgi",
        "_wsgi_answer",
        "forwarding",
        "request",
    )

    def __init__(self, endpoint: Endpoint, peer: str, serving: Serving, wsgi: Wsgi, has_lane: bool = False) -> None:
        config = serving.config
        self._endpoint = endpoint
        self._serving = serving
        self.forwarding = Forwarding(peer.encode(), b"http", config.main_port, config.forwarded_hops)
        self._wsgi = wsgi
        self.request: ClientRequest | None = None
        self._greenlet: Any = getcurrent()  # gevent has no types; None once all is said
        self._wsgi_answer = WsgiAnswer(serving.timeouts.sending)
        self._start_response = self._wsgi_answer.start_response
        self._lane = Lane(self, endpoint, serving) if has_lane else None

    @property
    def endpoint(self) -> Endpoint:
        """The client's end."""
        return self._endpoint

    def finish(self) -> None:
        """Makes the answer on its way the connection's last, unless its head has promised that another may follow."""
        if self.request is not None and not self.request.promised:
            self.request.persist = False

    def cut_off(self) -> None:
        """Ends what is under way: with an answer where none has begun, else with a reset."""
        get_hub().loop.run_callback(self._throw, WorkerStopped("the worker ends and has waited long enough"))

    def _throw(self, error: WorkerStopped) -> None:
        if self._greenlet is not None:
            self._greenlet.throw(error)

    def serve(self) -> None:
        """Serves until the connection ends; closes it in every case."""
        endpoint = self._endpoint
        linger = False
        try:
            while self._serve_one():
                if endpoint.buffered:
                    yield_to_loop()  # pipelined: others first, or one client could keep the worker to itself
            linger = True
        except Expired:  # the client said nothing for too long
            linger = self._serving.is_stopping
        except OSError:
            pass  # it went away between requests
        except WorkerStopped:
            endpoint.abort()  # a page of ours was on its way
        finally:
            if linger and not endpoint.closed:
                self._linger()
            endpoint.close()

    def _serve_one(self) -> bool:
        """One request and its answer; returns whether another may follow. Raises OSError, Expired."""
        if self._lane is not None and not self._endpoint.buffered:
            try:
                proceed = self._lane.serve()
            except WorkerStopped:  # while there was no request
                return False
            if proceed is not None:
                return proceed()
        try:
            raw = self._read_head()
            if not raw:
                return False
            started_us = monotonic_ns() // 1000
            head = self._serving.parser.parse(raw)
        except RouterError as error:
            self.refuse(error)
            return False
        return self.serve_head(head, started_us)

    def serve_head(self, head: RequestHead, started_us: int) -> bool:
        """The request of a head that was read at `started_us`, and its answer; returns whether another may follow."""
        serving = self._serving
        config = serving.config
        body = None
        if head.has_body:
            body = ClientBody(self._endpoint, head, config.max_body_bytes, config.body_rate_floor)
        persist = head.keep_alive and serving.keeps_alive
        request = ClientRequest(head, body, self._endpoint, self.forwarding, started_us, persist)
        if body is not None and config.max_body_bytes and (head.content_length or 0) > config.max_body_bytes:
            too_large = BodyTooLarge(f"{head.content_length} bytes announced, limit {config.max_body_bytes}")
            serving.forwarder.refuse(request, too_large)({}, None)
            return False
        self.request = request
        return self._sent(request, self._wsgi({REQUEST_KEY: request}, self._start_response))

    def answer(self, request: ClientRequest, respond: Callable[[], WsgiResponse]) -> bool:
        """The rest of what the lane has begun; `respond` gives the answer. Returns whether another may follow."""
        return self._sent(request, respond()({REQUEST_KEY: request}, self._start_response))

    def _sent(self, request: ClientRequest, chunks: Any) -> bool:
        if not request.answered:
            self._wsgi_answer.send(chunks, request)
        self.request = None
        return request.persist and not self._endpoint.closed

    # --- reading ------------------------------------------------------------------------------------------

    def _read_head(self) -> bytes:
        """The next head with its final empty line; b"" when the client has nothing more to say.

        Raises MalformedRequest, RequestLineTooLong, FieldsTooLarge, RequestTimeout, OSError, Expired.
        """
        endpoint = self._endpoint
        data = endpoint.buffered
        if not data:
            try:
                data = endpoint.read(self._serving.idle)
            except WorkerStopped:
                return b""
        end = data.find(b"\r\n\r\n")
        if end < 0 or data[0] == 13:
            data, end = self._read_rest(data)
            if end < 0:
                return b""
        end += 4
        if end == len(data):
            endpoint.buffered = b""
            self._check_size(data, end)
            return data
        endpoint.buffered = data[end:]
        raw = data[:end]
        self._check_size(raw, end)
        return raw

    def _read_rest(self, data: bytes) -> tuple[bytes, int]:
        """Reads on until the head is whole: all bytes, and where its final empty line begins; -1 at the end."""
        began = monotonic()
        heads = self._serving.heads
        seen = 0  # up to where nothing was found; a head that trickles in is not searched from the start each time
        while True:
            while data.startswith(b"\r\n"):  # RFC 9112 §2.2: an empty line before the request line
                data = data[2:]
                seen = 0
            end = data.find(b"\r\n\r\n", max(0, seen - 3))
            if end >= 0:
                return data, end
            self._check_begun(data, seen)
            seen = len(data)
            try:
                more = self._endpoint.read(heads)
            except Expired as error:
                if not data:
                    raise
                raise RequestTimeout(f"no complete head within {heads.seconds:g} s") from error
            if not more:
                if data.strip(b"\r\n"):
                    raise MalformedRequest("the head broke off")
                return b"", -1
            if monotonic() - began > heads.seconds:
                raise RequestTimeout(f"no complete head within {heads.seconds:g} s")
            data += more

    def _check_begun(self, data: bytes, seen: int) -> None:
        """Refuses at once what cannot become a request, instead of waiting for its end; `seen` bytes were fine."""
        config = self._serving.config
        fault = fault_in_lines(data, max(0, seen - 1))
        if fault:
            raise MalformedRequest(fault)
        eol = data.find(b"\n")
        if eol < 0:
            if len(data) > config.max_request_line_bytes + 1:
                raise RequestLineTooLong(f"longer than {config.max_request_line_bytes} bytes")
            if data and not 0x21 <= data[0] <= 0x7E and data != b"\r":
                raise MalformedRequest("not an HTTP request")
            return
        self._check_size(data, len(data))
        if eol >= seen:
            self._serving.parser.check_line(data[: eol - 1])

    def _check_size(self, data: bytes, end: int) -> None:
        config = self._serving.config
        if end > config.max_request_line_bytes:
            line = data.find(b"\r\n")
            if line > config.max_request_line_bytes:
                raise RequestLineTooLong(f"{line} bytes, limit {config.max_request_line_bytes}")
            if end - line > config.max_head_bytes:
                raise FieldsTooLarge(f"more than {config.max_head_bytes} bytes")

    # --- the last words -----------------------------------------------------------------------------------

    def turn_away(self, error: RouterError) -> None:
        """Answers a connection that is not to be served, and closes it."""
        try:
            self.refuse(error)
            self._linger()
        finally:
            self._endpoint.close()

    def refuse(self, error: RouterError) -> None:
        """Answers what could not be read as a request; the connection is not used again (RFC 9112 §2.2)."""
        now_us = monotonic_ns() // 1000
        head = RequestHead(b"-", b"-", False, b"\r\n\r\n")
        request = ClientRequest(head, None, self._endpoint, self.forwarding, now_us, False)
        self._serving.forwarder.refuse(request, error)({}, None)

    def _linger(self) -> None:
        """Says that nothing more comes, then reads what is still on its way, so that no reset overtakes it."""
        self._greenlet = None
        endpoint = self._endpoint
        endpoint.end_writing()
        ends = monotonic() + LINGER_S
        try:
            while monotonic() < ends and endpoint.read(self._serving.lingering):
                pass
        except (OSError, Expired):
            pass  # the client did not care to say goodbye
