"""Clients that stay on their backend: the router's own cookie taken off a request, so that no application sees it."""

from __future__ import annotations

from app.protocol.fields import without_cookie
from app.proxy.chain import Verdict
from app.proxy.client_request import request_parser
from app.proxy.transaction import Transaction
from app.routing.targets import AFFINITY_COOKIE
from app.settings.tables.router_settings import RouterConfig

__all__ = ["AffinityFilter"]


class AffinityFilter:
    """Notes which backend the requests of one worker ask for; `config` says how a head is read."""

    def __init__(self, config: RouterConfig) -> None:
        self._parser = request_parser(config)

    def __call__(self, transaction: Transaction) -> Verdict:
        """Has nothing against a request; once it is taken off there is nothing to find."""
        head = transaction.request.head
        if AFFINITY_COOKIE in head.raw:
            raw, transaction.backend_cookie = without_cookie(head.raw, AFFINITY_COOKIE)
            transaction.request.head = self._parser.parse(raw)
        return None
