"""WSGI responses that the router gives itself."""

from __future__ import annotations

from logging import getLogger
from time import monotonic_ns
from typing import Any

from app.errors import ClientDisconnected, RouterError
from app.proxy.client_request import ClientRequest
from app.proxy.replies.reply import Reply, error_reply, reply_bytes
from app.proxy.rewrite.date import date_line
from app.proxy.transaction import Transaction
from app.transport.deadlines import Deadlines

__all__ = ["ErrorReply", "LocalReply"]

logger = getLogger(__name__)


class LocalReply:
    """A response that is no error.

    Args:
        transaction: ended here.
        reply: what is said.
        sending: limit of a wait for the client to take some.

    Attributes:
        begun: what goes to the wire, how many bytes of it are the body, and how many are out, where somebody else has
            begun to send it.
    """

    __slots__ = ("_cause", "_reply", "_sending", "_transaction", "begun")

    def __init__(self, transaction: Transaction, reply: Reply, sending: Deadlines, cause: str = "none") -> None:
        self._transaction = transaction
        self._reply = reply
        self._sending = sending
        self._cause = cause
        self.begun: tuple[bytes, int, int] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The WSGI application of this one response."""
        transaction = self._transaction
        request = transaction.request
        if request.endpoint is None:
            reply = self._reply
            transaction.bytes_out = len(reply.body)
            transaction.end(int(reply.status_line[:3]), self._cause)
            start_response(reply.status_line, reply.fields)
            return [reply.body]
        request.answered = True
        self._send(request)
        return ()

    def _composed(self) -> tuple[bytes, int]:
        """What goes to the wire, and how many bytes of it are the body; the next step is to send it."""
        transaction = self._transaction
        request = transaction.request
        transaction.first_byte_us = monotonic_ns() // 1000
        return reply_bytes(self._reply, request.head, date_line() + request.persistence())

    def _send(self, request: ClientRequest) -> None:
        transaction = self._transaction
        endpoint = request.endpoint
        assert endpoint is not None
        status = int(self._reply.status_line[:3])
        if request.body is not None and not request.body.complete:
            request.persist = False  # the rest of the body is in the way of the next request
        cause = self._cause
        if status == ClientDisconnected.status:  # nobody is left to be told
            request.persist = False
            transaction.end(status, cause)
            return
        data, body, sent = self.begun or (*self._composed(), 0)
        try:
            endpoint.send(data[sent:], self._sending)
            transaction.bytes_out = body
        except BaseException as error:
            request.persist = False
            transaction.sent_in_part(sent + endpoint.taken, len(data), len(data) - body, body)
            cause = ClientDisconnected.cause
            if not transaction.first_byte_us:
                status = ClientDisconnected.status
            endpoint.abort()
            if not isinstance(error, Exception):
                raise
        finally:
            transaction.end(status, cause)


class ErrorReply(LocalReply):
    """The response that an error makes."""

    __slots__ = ("_error",)

    def __init__(self, transaction: Transaction, error: RouterError, sending: Deadlines, shows_cause: bool) -> None:
        head, version = transaction.request.head, transaction.target.name
        reply = error_reply(error, head, version, transaction.request_id, shows_cause)
        super().__init__(transaction, reply, sending, error.cause)
        self._error = error

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The WSGI application of this one response; failures of ours and of the version are logged."""
        error, transaction = self._error, self._transaction
        if error.status >= 500:
            request_id = transaction.request_id.decode("latin-1")
            extra = {"request": transaction.about(error.cause)}
            logger.warning("%s %s: %s (%s)", request_id, error.cause, error, transaction.told(), extra=extra)
        return super().__call__(environ, start_response)
