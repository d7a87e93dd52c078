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


def may_send_again(method: bytes, body_consumed: bool, has_written: bool, has_heard: bool) -> bool:
    """Whether a request whose connection failed may be sent on another one (RFC 9110 §9.2.2, RFC 9112 §9.3.1).

    Args:
        method: the request's method, as it came.
        body_consumed: some of the body has left the client's stream and is gone.
        has_written: the failed connection may have delivered some of the request.
        has_heard: some of an answer came back on it.
    """
    if has_heard or body_consumed:
        return False
    return not has_written or method in IDEMPOTENT
