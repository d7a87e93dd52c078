"""One request through the proxy: claim a version, send, and hand the answer over."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from logging import getLogger
from time import monotonic_ns, time
from typing import Any

from app.config import RouterConfig
from app.errors import RouterError, UpstreamDeadline
from app.protocol.heads import upstream_head
from app.protocol.response import ResponseHead
from app.proxy.client import RATE_GRACE_S, ClientRequest
from app.proxy.flight import Flight, Ledger
from app.proxy.refusal import refusal_bytes, refusal_parts, status_line
from app.proxy.request_ids import request_ids
from app.proxy.stream import Answer
from app.proxy.tunnel import Tunnel
from app.router import NO_VERSION, NOWHERE, Target, TrafficRouter
from app.transport.deadlines import Deadlines
from app.transport.limits import Expired
from app.upstream.messages import UpstreamRequest

__all__ = ["Forwarder", "Refusal", "Waits"]

logger = getLogger(__name__)

WsgiResponse = Callable[[dict[str, Any], Any], Any]


class Waits:
    """The worker's deadlines, one object for each kind of wait."""

    def __init__(self, config: RouterConfig) -> None:
        self.connecting = Deadlines(config.connection_timeout)
        self.reading = Deadlines(config.read_timeout)
        # A body that has stopped is slower than any floor.
        self.body = Deadlines(RATE_GRACE_S if config.body_rate_floor else 0)
        self.total = Deadlines(config.response_timeout)
        self.sending = Deadlines(config.send_timeout)
        self.tunnel = Deadlines(config.tunnel_idle_timeout)


class Forwarder:
    """Forwards the requests of one worker.

    Args:
        config: the settings.
        router: knows the active version.
        ledger: where requests are recorded.
        waits: the worker's deadlines.
    """

    def __init__(self, config: RouterConfig, router: TrafficRouter, ledger: Ledger, waits: Waits) -> None:
        self._router = router
        self._ledger = ledger
        self._waits = waits
        self._via = b"Via: 1.1 %b\r\n" % config.via.encode() if config.via else b""
        self._server_timing = config.server_timing
        self._limits_total = config.response_timeout > 0
        self._ids = request_ids()

    def forward(self, request: ClientRequest) -> WsgiResponse:
        """Sends `request` to the active version; returns what passes the answer on, or the router's own answer."""
        head = request.head
        request_id = head.request_id or next(self._ids)
        try:
            row, target = self._router.claim(head.method, head.target, request.started_us)
        except RouterError as error:
            return self.refuse(request, error, request_id)
        flight = Flight(self._ledger, request, row, target, request_id)
        try:
            if self._limits_total:
                flight.limit_total(self._waits.total)
            message = self._message(request, target, request_id)
            flight.sent_us = monotonic_ns() // 1000
            answer = target.send(message)
        except RouterError as error:
            return Refusal(flight, error, self._waits.sending)
        except Expired as error:
            late = UpstreamDeadline(f"no answer within {error.limit.seconds:g} s")
            return Refusal(flight, late, self._waits.sending)
        except Exception:
            logger.exception("%s: a fault of the router's own", request_id.decode("latin-1"))
            return Refusal(flight, RouterError("a fault of the router's own"), self._waits.sending)
        except BaseException:  # the worker is being stopped and does not wait for this request any more
            flight.end(RouterError.status, RouterError.cause)
            raise
        flight.head_us = monotonic_ns() // 1000
        if answer.status_code == 101:
            return Tunnel(flight, answer, self._lines(answer.head, flight), self._waits.tunnel)
        return Answer(flight, answer, self._lines(answer.head, flight), self._waits.reading, self._waits.sending)

    def refuse(self, request: ClientRequest, error: RouterError, request_id: bytes = b"") -> Refusal:
        """The router's own answer to a request that no version was picked for."""
        head = request.head
        row = self._ledger.recorder.start(NO_VERSION, head.method, head.target, request.started_us)
        request_id = request_id or head.request_id or next(self._ids)
        return Refusal(Flight(self._ledger, request, row, NOWHERE, request_id), error, self._waits.sending)

    def _message(self, request: ClientRequest, target: Target, request_id: bytes) -> UpstreamRequest:
        """The request as it goes upstream."""
        head = request.head
        added = request.forwarding.lines(head) + self._via
        if not head.request_id:
            added += b"X-Request-ID: " + request_id + b"\r\n"
        upgrades = False
        if head.upgrade and request.endpoint is not None:
            upgrades = True
            added += b"Connection: Upgrade\r\nUpgrade: " + head.upgrade + b"\r\n"
        return UpstreamRequest(
            target.port,
            head.method,
            head.target,
            upstream_head(head, added, target.authority),
            request.body,
            request.endpoint,
            # RFC 9110 §15.2: 1xx answers are passed on, but never to HTTP/1.0.
            request.endpoint is not None and not head.http10,
            upgrades,
        )

    def _lines(self, head: ResponseHead, flight: Flight) -> bytes:
        """The field lines that the client's answer gets from us."""
        added = self._via
        if not head.has_date:
            # RFC 9110 §6.6.1: who forwards an answer without Date adds it.
            added += b"Date: %b\r\n" % formatdate(time(), usegmt=True).encode()
        if not head.has_request_id:
            added += b"X-Request-ID: " + flight.request_id + b"\r\n"
        if self._server_timing:
            added += self._timing(flight)
        return added

    def _timing(self, flight: Flight) -> bytes:
        started_us = flight.request.started_us
        queue = (flight.sent_us - started_us) / 1000
        upstream = (flight.head_us - flight.sent_us) / 1000
        router = (monotonic_ns() // 1000 - started_us) / 1000 - upstream
        timing = f"router;dur={router:.3f}, upstream;dur={upstream:.3f}, queue;dur={queue:.3f}"
        return b"Server-Timing: %b\r\n" % timing.encode()


class Refusal:
    """A WSGI response in which the router itself answers a request."""

    __slots__ = ("_error", "_flight", "_sending")

    def __init__(self, flight: Flight, error: RouterError, sending: Deadlines) -> None:
        self._flight = flight
        self._error = error
        self._sending = sending

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The WSGI application of this one answer."""
        flight, error = self._flight, self._error
        request = flight.request
        if error.status >= 500:
            version = flight.target.name or "no version"
            request_id = flight.request_id.decode("latin-1")
            logger.warning("%s %s: %s (%s)", request_id, error.cause, error, version)
        if request.endpoint is None:
            fields, body = refusal_parts(error, request.head, flight.target.name, flight.request_id)
            flight.bytes_out = len(body)
            flight.end(error.status, error.cause)
            start_response(status_line(error), fields)
            return [body]
        request.answered = True
        self._send(request)
        return ()

    def _send(self, request: ClientRequest) -> None:
        flight, error = self._flight, self._error
        endpoint = request.endpoint
        assert endpoint is not None
        status = error.status
        if request.body is not None and not request.body.complete:
            request.persist = False  # the rest of the body is in the way of the next request
        try:
            if status != 499:
                close = b"" if request.persist else b"Connection: close\r\n"
                data, size = refusal_bytes(error, request.head, flight.target.name, flight.request_id, close)
                flight.first_byte_us = monotonic_ns() // 1000
                flight.bytes_out = size
                endpoint.send(data, self._sending)
            else:
                request.persist = False
        except Exception:
            request.persist = False
            status = 499
        finally:
            flight.end(status, error.cause)
