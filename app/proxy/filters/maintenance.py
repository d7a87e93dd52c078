"""Maintenance: everybody is told so, but for previews, some networks, and balancers that ask for the health."""

from __future__ import annotations

from functools import lru_cache
from time import time

from app.access import AllowList
from app.errors import UnderMaintenance
from app.proxy.chain import Verdict
from app.proxy.client_request import ClientRequest
from app.proxy.replies.maintenance_page import MaintenancePage
from app.proxy.replies.reply import Reply
from app.proxy.transaction import Transaction
from app.routing.router import TrafficRouter
from app.settings.tables.router_settings import RouterConfig
from app.state.model import BlueGreenState

__all__ = ["MaintenanceFilter"]

_WELL = Reply(
    "200 OK",
    [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "2"), ("Cache-Control", "no-store")],
    b"ok",
)
"""What a balancer hears: the router is what serves."""


class MaintenanceFilter:
    """Refuses requests while maintenance is on.

    Args:
        config: the settings.
        router: knows the state.
        health_path: answered meanwhile, for balancers that would else take the router out.
    """

    def __init__(self, config: RouterConfig, router: TrafficRouter, health_path: str) -> None:
        self._router = router
        self._health_path = health_path.encode()
        self._page = MaintenancePage(config.hold.maintenance_page)

    def concerns(self, state: BlueGreenState | None) -> bool:
        """Whether there is maintenance in that state, were it over by now."""
        return state is not None and state.maintenance is not None

    def __call__(self, transaction: Transaction) -> Verdict:
        """Lets a visit of the standby pass, and whoever is allowed."""
        state = self._router.seen
        if state is None or state.maintenance is None or transaction.is_preview:
            return None
        state, now = self._router.look(), time()
        maintenance = state.maintenance_at(now) if state is not None else None
        if state is None or state.active is None or maintenance is None:
            return None  # it has ended, or there is a worse reason to refuse everybody
        if self._is_health_check(transaction.request):
            return _WELL
        if transaction.request.client_address in _allowed(maintenance.allow):
            transaction.pick = self._router.past_maintenance
            return None
        error = UnderMaintenance(maintenance.message, maintenance.comes_back_in_s(now))
        error.template = self._page.template()
        return error

    def _is_health_check(self, request: ClientRequest) -> bool:
        return request.head.target.partition(b"?")[0] == self._health_path and request.head.method in (b"GET", b"HEAD")


_allowed = lru_cache(maxsize=8)(AllowList)
