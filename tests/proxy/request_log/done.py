"""A request that is over, without a version or a connection."""

from __future__ import annotations

from time import monotonic_ns
from typing import cast

from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestParser
from app.proxy.client_request import ClientRequest
from app.proxy.request_log.logged_request import LoggedRequest
from app.proxy.transaction import Recorder, RequestRecorder, Transaction
from app.routing.targets import NOWHERE

__all__ = ["done"]


def done(raw: bytes, *, status: int = 200, cause: str = "none", upstream_us: int = 0) -> LoggedRequest:
    """One whose head is `raw`; the answer's head came after `upstream_us`, or never."""
    head = RequestParser(200).parse(raw)
    started_us = monotonic_ns() // 1000
    request = ClientRequest(head, None, None, Forwarding(b"192.0.2.7", b"http", 5004, 0), started_us, head.keep_alive)
    transaction = Transaction(RequestRecorder(cast(Recorder, None), None, False), request, head.request_id or b"id-7")
    transaction.target = NOWHERE
    if upstream_us:
        transaction.sent_us = started_us + 100
        transaction.head_us = transaction.first_byte_us = transaction.sent_us + upstream_us
    return LoggedRequest(transaction, status, cause, 3, started_us + 1_234_567)
