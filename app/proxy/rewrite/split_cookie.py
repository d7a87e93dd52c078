"""The cookie by which clients are told apart while two versions share the requests."""

from __future__ import annotations

from app.protocol.field_values import field_in
from app.protocol.fields import split_list
from app.protocol.response import ResponseHead
from app.proxy.sharing import NOT_SHARED
from app.proxy.transaction import Transaction
from app.routing.targets import SPLIT_COOKIE
from app.state.split import COOKIES_LAST_S

__all__ = ["split_cookie_lines"]

_UNSHARED = frozenset((b"private", b"no-store"))
_NOT_MODIFIED = 304
"""It changes what is stored, which may be shared."""


def split_cookie_lines(transaction: Transaction, head: ResponseHead) -> bytes:
    """The lines that set the client's cookie, where it is to get one; b"" where not.

    A cache that is shared would hand one client's cookie to all (RFC 9111 §7.3). So an answer that one may store gets
    none, and where the application says nothing about that, we say that it is for this client alone.
    """
    assignment = transaction.assignment
    if assignment is None or not assignment.new_cookie or assignment.version == NOT_SHARED:
        return b""
    said = field_in(head.fields, b"cache-control")
    if head.status == _NOT_MODIFIED or (not said and field_in(head.fields, b"expires")):
        return b""
    if said and _UNSHARED.isdisjoint(split_list(said)):
        return b""
    request = transaction.request
    secure = b"; Secure" if request.forwarding.is_secure(request.head) else b""
    line = b"Set-Cookie: %b=%b; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%b\r\n"
    own = b"" if said else b"Cache-Control: private\r\n"
    return line % (SPLIT_COOKIE, assignment.new_cookie, COOKIES_LAST_S, secure) + own
