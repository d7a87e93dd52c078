"""Clients that stay on their backend: the router's own cookie taken off a request, so that no application sees it."""

from __future__ import annotations

from app.protocol.fields import cookie_taken_off
from app.proxy.chain import Verdict
from app.proxy.client_request import request_parser
from app.proxy.transaction import Transaction
from app.routing.targets import AFFINITY_COOKIE
from app.settings.tables.router_settings import RouterConfig

__all__ = ["AffinityFilter", "taken_off"]


def taken_off(raw: bytes) -> tuple[bytes, bytes]:
    """A request's head without the cookie, and its value."""
    kept, found = [], b""
    for line in raw[:-4].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"cookie" and AFFINITY_COOKIE in value:
            line, ours = cookie_taken_off(line, AFFINITY_COOKIE)
            found = found or ours
            if not line:
                continue
        kept.append(line)
    return b"\r\n".join(kept) + b"\r\n\r\n", found


class AffinityFilter:
    """Notes which backend the requests of one worker ask for; `config` says how a head is read."""

    def __init__(self, config: RouterConfig) -> None:
        self._parser = request_parser(config)

    def __call__(self, transaction: Transaction) -> Verdict:
        """Has nothing against a request; once it is taken off there is nothing to find."""
        head = transaction.request.head
        if AFFINITY_COOKIE in head.raw:
            raw, transaction.backend_cookie = taken_off(head.raw)
            transaction.request.head = self._parser.parse(raw)
        return None
