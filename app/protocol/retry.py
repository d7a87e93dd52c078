"""What may be sent again: never a request that the application may have executed, unless that is harmless.

    failed on    idempotent    of these, safe            any other
    a used one   at once       at once                   never        it may have been closed before the request came
    a new one    never         once more after a while   never        the request may be what has ended the process

"At once" is on a new connection. A request of which nothing was written is sent again in any case, and one that was
written twice in none.
"""

from __future__ import annotations

__all__ = ["IDEMPOTENT", "SAFE", "has_surely_read", "may_send_again"]

SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})  # RFC 9110 §9.2.1

IDEMPOTENT = (
    SAFE
    | {b"PUT", b"DELETE"}  # RFC 9110 §9.2.2
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

_SMALL_BODY_BYTES = 8192
"""What any server has read with the head, or takes from its buffer even if its application does not ask for it: one
read has this much (gunicorn's), and where more is taken it ends at 64 KiB (gunicorn's threads)."""


def may_send_again(
    method: bytes, *, is_reused: bool, times_written: int, has_written: bool, body_consumed: bool, has_heard: bool
) -> bool:
    """Whether a request whose connection failed may be sent on another one (RFC 9110 §9.2.2, RFC 9112 §9.3.1).

    Args:
        method: the request's method, as it came.
        is_reused: the failed connection had carried an exchange before.
        times_written: on how many connections some of the request was written, the failed one included.
        has_written: the failed connection may have delivered some of the request.
        body_consumed: some of the body has left the client's stream and is gone.
        has_heard: some of an answer came back on it.
    """
    if has_heard or body_consumed:
        return False
    return not has_written or (times_written == 1 and method in (IDEMPOTENT if is_reused else SAFE))


def has_surely_read(body_bytes: int, status: int) -> bool:
    """Whether a version that has answered a request with a body has also read it, and so keeps the connection.

    Many servers answer at once what their application refuses unread, announce to keep the connection, and close it
    a moment later because the body is in the way (RFC 9112 §9.3). A request sent in that moment is lost.
    """
    return body_bytes <= _SMALL_BODY_BYTES and status < 400
