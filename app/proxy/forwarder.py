"""One request through the proxy: claim a version, send, and hand the answer over."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from time import monotonic_ns
from typing import Any

from gevent import GreenletExit

from app.config import RouterConfig
from app.errors import RouterError, UnderMaintenance, UpstreamDeadline, UpstreamError, WorkerStopped
from app.protocol.heads import upstream_head
from app.protocol.response import ResponseHead
from app.proxy.client import RATE_GRACE_S, ClientRequest
from app.proxy.date import date_line
from app.proxy.door import Door
from app.proxy.flight import Flight, Ledger
from app.proxy.own_answers import OwnAnswer, Refusal
from app.proxy.preview import MARK, Permit, Previews
from app.proxy.refusal import Parts
from app.proxy.request_ids import request_ids
from app.proxy.rescue import Rescue
from app.proxy.stream import Answer
from app.proxy.tunnel import Tunnel
from app.router import NO_VERSION, NOWHERE, Target, TrafficRouter
from app.transport.deadlines import Deadlines
from app.transport.limits import Expired
from app.upstream.messages import UpstreamAnswer, UpstreamRequest

__all__ = ["Forwarder", "Waits"]

logger = getLogger(__name__)

_WELL: Parts = (
    [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "2"), ("Cache-Control", "no-store")],
    b"ok",
)
"""What a balancer hears in maintenance: the router is what serves."""

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
        door, rescue: hold requests before they can be sent, and after that has failed.
    """

    def __init__(
        self,
        config: RouterConfig,
        router: TrafficRouter,
        ledger: Ledger,
        waits: Waits,
        door: Door,
        rescue: Rescue,
    ) -> None:
        self._router = router
        self._ledger = ledger
        self._waits = waits
        self._door = door
        self._rescue = rescue
        self._previews = Previews(config, router)
        self._preview_ledger = Ledger(ledger.recorder, ledger.access_log, counts=False)
        self._via = b"Via: 1.1 %b\r\n" % config.via.encode() if config.via else b""
        self._server_timing = config.server_timing
        self._limits_total = config.response_timeout > 0
        self._ids = request_ids()

    def forward(self, request: ClientRequest) -> WsgiResponse:
        """Sends `request` to the active version; returns what passes the answer on, or the router's own answer."""
        head = request.head
        request_id = head.request_id or next(self._ids)
        try:
            row, target = self._router.claim(head.method, head.target, request.started_us, request_id)
        except RouterError as error:
            return self._forward_late(request, error, request_id)
        if head.asks_for_preview or (target.has_previews and MARK in head.raw):
            self._ledger.recorder.unclaim(row, target.version)
            return self._forward_visitor(request, request_id)
        return self._send(Flight(self._ledger, request, row, target, request_id))

    def _send(self, flight: Flight) -> WsgiResponse:
        """Sends a request that has its claim."""
        request, target, request_id = flight.request, flight.target, flight.request_id
        try:
            if self._limits_total:
                flight.limit_total(self._waits.total)
            message = self._message(request, target, request_id)
            flight.sent_us = monotonic_ns() // 1000
            try:
                answer = target.send(message)
            except UpstreamError as error:
                answer = self._send_again(flight, message, error)
        except RouterError as error:
            return Refusal(flight, error, self._waits.sending)
        except Expired as error:
            late = UpstreamDeadline(f"no answer within {error.limit.seconds:g} s")
            return Refusal(flight, late, self._waits.sending)
        except Exception:
            logger.exception("%s: a fault of the router's own", request_id.decode("latin-1"))
            return Refusal(flight, RouterError("a fault of the router's own"), self._waits.sending)
        except GreenletExit:  # by a stock worker that stops and does not wait any longer
            return Refusal(flight, WorkerStopped("the worker ends"), self._waits.sending)
        except BaseException:
            flight.end(WorkerStopped.status, WorkerStopped.cause)
            raise
        flight.head_us = monotonic_ns() // 1000
        if answer.status_code == 101:
            return Tunnel(flight, answer, self._lines(answer.head, flight), self._waits.tunnel)
        return Answer(flight, answer, self._lines(answer.head, flight), self._waits.reading, self._waits.sending)

    def _send_again(self, flight: Flight, message: UpstreamRequest, error: UpstreamError) -> UpstreamAnswer:
        """Holds a request that its version refused until it can be sent."""
        return self._rescue.send_again(
            flight, message, error, lambda target: self._message(flight.request, target, flight.request_id)
        )

    # --- when traffic does not simply flow ----------------------------------------------------------------

    def _forward_late(self, request: ClientRequest, error: RouterError, request_id: bytes) -> WsgiResponse:
        """A request that could not have a claim at once: it waits out a pause, or is told about maintenance."""
        head = request.head
        if head.asks_for_preview or (self._router.has_previews and MARK in head.raw):
            return self._forward_visitor(request, request_id)
        if isinstance(error, UnderMaintenance) and self._door.is_health_check(request):
            return OwnAnswer(self._nowhere(request, request_id, self._ledger), "200 OK", _WELL, self._waits.sending)
        try:
            row, target = self._door.claim(request, request_id)
        except RouterError as reason:
            return self.refuse(request, reason, request_id)
        return self._send(Flight(self._ledger, request, row, target, request_id))

    def _forward_visitor(self, request: ClientRequest, request_id: bytes) -> WsgiResponse:
        """A request with a permit for a preview, which no version ever sees."""
        permit = self._previews.take_off(request)
        try:
            is_visit = self._previews.shows_standby(permit)
            if permit.query and request.head.method in (b"GET", b"HEAD"):
                return self._redirect(request, permit, request_id)
            if not is_visit:
                row, target = self._door.claim(request, request_id)
                return self._send(Flight(self._ledger, request, row, target, request_id))
            row, target = self._door.claim(request, request_id, of_standby=True)
        except RouterError as error:
            return self.refuse(request, error, request_id)
        flight = Flight(self._preview_ledger, request, row, target, request_id)
        flight.is_preview = True
        return self._send(flight)

    def _redirect(self, request: ClientRequest, permit: Permit, request_id: bytes) -> OwnAnswer:
        parts = self._previews.to_clean_address(request, permit)
        flight = self._nowhere(request, request_id, self._preview_ledger)
        return OwnAnswer(flight, "303 See Other", parts, self._waits.sending)

    def _nowhere(self, request: ClientRequest, request_id: bytes, ledger: Ledger) -> Flight:
        """The flight of a request that goes to no version."""
        head = request.head
        row = ledger.recorder.start(NO_VERSION, head.method, head.target, request.started_us, request_id)
        return Flight(ledger, request, row, NOWHERE, request_id)

    def refuse(self, request: ClientRequest, error: RouterError, request_id: bytes = b"") -> Refusal:
        """The router's own answer to a request that no version was picked for."""
        request_id = request_id or request.head.request_id or next(self._ids)
        return Refusal(self._nowhere(request, request_id, self._ledger), error, self._waits.sending)

    def _message(self, request: ClientRequest, target: Target, request_id: bytes) -> UpstreamRequest:
        """The request as it goes upstream."""
        head = request.head
        added = request.forwarding.lines(head) + self._via
        if not head.request_id:
            added += b"X-Request-ID: " + request_id + b"\r\n"
        upgrades = head.upgrade if request.endpoint is not None else b""
        if upgrades:
            added += b"Connection: Upgrade\r\nUpgrade: " + upgrades + b"\r\n"
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
            added += date_line()
        if not head.has_request_id:
            added += b"X-Request-ID: " + flight.request_id + b"\r\n"
        if self._server_timing:
            added += self._timing(flight)
        if flight.is_preview:
            # A shared cache in front of us would show it to everybody.
            added += b"Cache-Control: no-store\r\nX-Router-Preview: " + flight.target.name.encode() + b"\r\n"
        return added

    def _timing(self, flight: Flight) -> bytes:
        started_us = flight.request.started_us
        queue = (flight.sent_us - started_us) / 1000
        upstream = (flight.head_us - flight.sent_us) / 1000
        router = (monotonic_ns() // 1000 - started_us) / 1000 - upstream
        timing = f"router;dur={router:.3f}, upstream;dur={upstream:.3f}, queue;dur={queue:.3f}"
        return b"Server-Timing: %b\r\n" % timing.encode()
