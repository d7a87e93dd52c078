"""What the router writes into heads on their way: the request's for the version, and the response's for the client."""

from __future__ import annotations

from time import monotonic_ns

from app.protocol.heads import upstream_head
from app.protocol.response import ResponseHead
from app.proxy.rewrite.date import date_line
from app.proxy.rewrite.split_cookie import split_cookie_lines
from app.proxy.transaction import Transaction
from app.routing.targets import AFFINITY_COOKIE
from app.settings.tables.router_settings import RouterConfig
from app.upstream.messages import UpstreamRequest

__all__ = ["Rewriter"]


class Rewriter:
    """Composes the heads of one worker's messages.

    Args:
        config: the settings.
        tells_version: whether answers say which version they are from.
    """

    def __init__(self, config: RouterConfig, tells_version: bool = False) -> None:
        self._tells_version = tells_version
        self._via = b"Via: 1.1 %b\r\n" % config.via.encode() if config.via else b""
        self._server_timing = config.server_timing
        self._for_the_log = bool(config.access_log and config.log.access_log_response_headers)
        self._keeps_response = self._for_the_log

    def notes_responses(self, is_recorded: bool) -> None:
        """From now on transactions have their `response`, or only where the access log needs it."""
        self._keeps_response = is_recorded or self._for_the_log

    def request_head(self, transaction: Transaction, more: bytes = b"") -> bytes:
        """The request's head as it goes to the version that it has claimed; `more` are further lines of ours."""
        request = transaction.request
        head = request.head
        added = request.forwarding.lines(head)
        if transaction.passage is not None:
            added += transaction.passage.request_lines
        if head.request_id:
            added += self._via + more
        else:
            added = b"%b%bX-Request-ID: %b\r\n%b" % (added, self._via, transaction.request_id, more)
        return upstream_head(head, added, transaction.target.authority)

    def request(self, transaction: Transaction) -> UpstreamRequest:
        """The request as it goes to the version that it has claimed."""
        request, target = transaction.request, transaction.target
        head = request.head
        more = b""
        upgrades = head.upgrade if request.endpoint is not None else b""
        if upgrades:
            more = b"Connection: Upgrade\r\nUpgrade: " + upgrades + b"\r\n"
        message = UpstreamRequest(
            target.address,
            head.method,
            head.target,
            self.request_head(transaction, more),
            request.body,
            request.endpoint,
            # RFC 9110 §15.2: 1xx answers are passed on, but never to HTTP/1.0.
            request.endpoint is not None and not head.http10,
            upgrades,
        )
        if target.backend >= 0:
            message.has_others = True
        return message

    def response_lines(self, transaction: Transaction, head: ResponseHead) -> bytes:
        """The field lines that the client's response gets from us."""
        if self._keeps_response:
            transaction.response = head
        # RFC 9110 §6.6.1: who forwards an answer without Date adds it.
        added = self._via if head.has_date else self._via + date_line()
        if not head.has_request_id:
            added = b"%bX-Request-ID: %b\r\n" % (added, transaction.request_id)
        if self._server_timing:
            added += _timing(transaction)
        if transaction.passage is not None:
            added += transaction.passage.response_lines
        target = transaction.target
        if target.cookie and target.cookie != transaction.backend_cookie:
            added += _affinity(transaction, target.cookie)
        if self._tells_version:
            added += b"X-Router-Version: %b\r\n" % target.name.encode()
        if transaction.assignment is not None:
            added += split_cookie_lines(transaction, head)
        if transaction.is_preview:
            # A shared cache in front of us would show it to everybody.
            added += b"Cache-Control: no-store\r\nX-Router-Preview: " + target.name.encode() + b"\r\n"
        return added


def _affinity(transaction: Transaction, value: bytes) -> bytes:
    request = transaction.request
    secure = b"; Secure" if request.forwarding.is_secure(request.head) else b""
    return b"Set-Cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax%b\r\n" % (AFFINITY_COOKIE, value, secure)


def _timing(transaction: Transaction) -> bytes:
    started_us = transaction.request.started_us
    queue = (transaction.sent_us - started_us) / 1000
    upstream = (transaction.head_us - transaction.sent_us) / 1000
    router = (monotonic_ns() // 1000 - started_us) / 1000 - upstream
    timing = f"router;dur={router:.3f}, upstream;dur={upstream:.3f}, queue;dur={queue:.3f}"
    return b"Server-Timing: %b\r\n" % timing.encode()
