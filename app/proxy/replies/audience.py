"""Who is told what went wrong inside: the cause of an error of the router's own, and the version."""

from __future__ import annotations

from time import time

from werkzeug.http import parse_cookie

from app.access import COOKIE, Access
from app.protocol.field_values import field_in
from app.protocol.request import RequestHead
from app.proxy.client_request import ClientRequest

__all__ = ["Audience"]


class Audience:
    """Decides by `show_cause`: "always", "never", or "admin" for those whom `access` admits."""

    def __init__(self, show_cause: str, access: Access) -> None:
        self._show_cause = show_cause
        self._access = access

    def may_know(self, request: ClientRequest) -> bool:
        """Whether the client of a request is told. One that came through an unknown proxy has no address to go by."""
        if self._show_cause != "admin":
            return self._show_cause == "always"
        head = request.head
        address = "" if request.forwarding.is_relayed(head) else request.client_address
        if self._access.is_near(address):
            return True
        if not self._access.has_token:
            return False
        cookies = _field(head, b"cookie")
        cookie = parse_cookie(cookies).get(COOKIE, "") if COOKIE in cookies else ""
        return self._access.is_shown(_field(head, b"authorization"), cookie, time())


def _field(head: RequestHead, wanted: bytes) -> str:
    return field_in(head.fields, wanted).strip().decode("latin-1")
