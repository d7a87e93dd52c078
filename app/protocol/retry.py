"""What may be sent again: never a request that the application may have executed, unless that is harmless."""

from __future__ import annotations

__all__ = ["IDEMPOTENT", "may_send_again"]

IDEMPOTENT = frozenset(
    {b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"}  # RFC 9110 §9.2.2
    | {
        b"PROPFIND",
        b"PROPPATCH",
        b"MKCOL",
        b"COPY",
        b"MOVE",
        b"UNLOCK",
        b"REPORT",
        b"SEARCH",
    }  # IANA's registry
)


def may_send_again(method: bytes, body_consumed: bool, bytes_written: int, bytes_received: int) -> bool:
    """Whether a request whose connection failed may be sent on another one (RFC 9110 §9.2.2, RFC 9112 §9.3.1).

    Args:
        method: the request's method, as it came.
        body_consumed: some of the body has left the client's stream and is gone.
        bytes_written: bytes of the request that the failed connection may have delivered.
        bytes_received: bytes of an answer that came back on it.
    """
    if bytes_received or body_consumed:
        return False
    return bytes_written == 0 or method in IDEMPOTENT
