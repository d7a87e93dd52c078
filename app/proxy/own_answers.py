"""WSGI responses in which the router itself answers a request."""

from __future__ import annotations

from logging import getLogger
from time import monotonic_ns
from typing import Any

from app.errors import ClientDisconnected, RouterError
from app.proxy.client import ClientRequest
from app.proxy.date import date_line
from app.proxy.flight import Flight
from app.proxy.refusal import Parts, answer_bytes, refusal_parts, status_line
from app.transport.deadlines import Deadlines

__all__ = ["OwnAnswer", "Refusal"]

logger = getLogger(__name__)


class OwnAnswer:
    """An answer of the router's own that is no error.

    Args:
        flight: ended here.
        line: status and reason phrase.
        parts: fields and body.
        sending: limit of a wait for the client to take some.
    """

    __slots__ = ("_cause", "_flight", "_line", "_parts", "_sending")

    def __init__(self, flight: Flight, line: str, parts: Parts, sending: Deadlines, cause: str = "none") -> None:
        self._flight = flight
        self._line = line
        self._parts = parts
        self._sending = sending
        self._cause = cause

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The WSGI application of this one answer."""
        flight = self._flight
        request = flight.request
        if request.endpoint is None:
            fields, body = self._parts
            flight.bytes_out = len(body)
            flight.end(int(self._line[:3]), self._cause)
            start_response(self._line, fields)
            return [body]
        request.answered = True
        self._send(request)
        return ()

    def _send(self, request: ClientRequest) -> None:
        flight = self._flight
        endpoint = request.endpoint
        assert endpoint is not None
        status = int(self._line[:3])
        if request.body is not None and not request.body.complete:
            request.persist = False  # the rest of the body is in the way of the next request
        cause = self._cause
        if status == ClientDisconnected.status:  # nobody is left to be told
            request.persist = False
            flight.end(status, cause)
            return
        added = date_line() if request.persist else date_line() + b"Connection: close\r\n"
        data, body = answer_bytes(self._line, self._parts, request.head, added)
        flight.first_byte_us = monotonic_ns() // 1000
        try:
            endpoint.send(data, self._sending)
            flight.bytes_out = body
        except BaseException as error:
            request.persist = False
            flight.sent_in_part(endpoint.taken, len(data), len(data) - body, body)
            cause = ClientDisconnected.cause
            if not flight.first_byte_us:
                status = ClientDisconnected.status
            endpoint.abort()
            if not isinstance(error, Exception):
                raise
        finally:
            flight.end(status, cause)


class Refusal(OwnAnswer):
    """The answer that an error makes."""

    __slots__ = ("_error",)

    def __init__(self, flight: Flight, error: RouterError, sending: Deadlines) -> None:
        parts = refusal_parts(error, flight.request.head, flight.target.name, flight.request_id)
        super().__init__(flight, status_line(error), parts, sending, error.cause)
        self._error = error

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The WSGI application of this one answer; failures of ours and of the version are logged."""
        error, flight = self._error, self._flight
        if error.status >= 500:
            version = flight.target.name or "no version"
            logger.warning("%s %s: %s (%s)", flight.request_id.decode("latin-1"), error.cause, error, version)
        return super().__call__(environ, start_response)
