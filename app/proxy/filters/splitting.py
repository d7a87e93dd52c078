"""Two versions in traffic: each request is given to one of them, and the router's own cookie taken off it."""

from __future__ import annotations

from time import time

from app.protocol.fields import without_cookie
from app.proxy.chain import Verdict
from app.proxy.client_request import request_parser
from app.proxy.sharing import NOT_SHARED, Assignment, Sharing, SplitCounter, is_client_id
from app.proxy.transaction import Transaction
from app.routing.circuit import CircuitState
from app.routing.failover import state_of
from app.routing.router import TrafficRouter
from app.routing.targets import SPLIT_COOKIE, Target
from app.settings.tables.router_settings import RouterConfig
from app.state.model import BlueGreenState

__all__ = ["SplitFilter"]


class SplitFilter:
    """Shares the requests of one worker out between two versions.

    Args:
        config: says how a head is read.
        router: knows the split, and which version can take requests.
        counter: counts what becomes of them.
    """

    def __init__(self, config: RouterConfig, router: TrafficRouter, counter: SplitCounter) -> None:
        self._parser = request_parser(config)
        self._router = router
        self._counter = counter
        self._sharing: Sharing | None = None
        self._canary: Target | None = None
        self._generation = -1

    def concerns(self, state: BlueGreenState | None) -> bool:
        """Whether there is a split in that state, or browsers may still have cookies of one."""
        return state is not None and (state.split is not None or state.split_cookies_until is not None)

    def __call__(self, transaction: Transaction) -> Verdict:
        """Has nothing against a request. Asked again, it finds the same, unless the split is another one by now."""
        assignment = transaction.assignment
        if assignment is None:
            assignment = transaction.assignment = Assignment(self._counter)
            head = transaction.request.head
            if SPLIT_COOKIE in head.raw:
                raw, found = without_cookie(head.raw, SPLIT_COOKIE)
                transaction.request.head = self._parser.parse(raw)
                if is_client_id(found):
                    assignment.client_id = found
        if transaction.is_preview:
            assignment.version = NOT_SHARED
            return None
        if assignment.is_settled:
            transaction.pick = None
            return None
        sharing = self.sharing()
        if sharing is None:
            transaction.pick = None
            assignment.version = NOT_SHARED
            return None
        sharing.assign(assignment, transaction.request)
        transaction.pick = self._router.canary if assignment.version == sharing.canary else None
        return None

    def sharing(self) -> Sharing | None:
        """How requests are shared out at this moment; None while all go to one version."""
        router = self._router
        if router.generation != self._generation:
            self._look_at(router.seen)
        canary, sharing = self._canary, self._sharing
        if canary is None or sharing is None or time() >= sharing.until or router.is_diverted:
            return None
        has_circuit = canary.circuit is not None or canary.backends is not None
        return None if has_circuit and state_of(canary) is CircuitState.OPEN else sharing

    def _look_at(self, state: BlueGreenState | None) -> None:
        split = state.split if state is not None else None
        self._sharing = Sharing(split) if split is not None else None
        self._canary, self._generation = self._router.canary_target, self._router.generation
