"""Requests that wait because each backend has as many as it may have (`max_in_flight`)."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import Protocol

from app.errors import QueueFull, QueueTimeout
from app.metrics.queue_words import Elsewhere
from app.proxy.chain import Wait
from app.proxy.transaction import Transaction
from app.proxy.waiting_room import WaitingRoom
from app.routing.router import TrafficRouter
from app.routing.targets import Choice, Target
from app.settings.tables.backends_settings import BackendsConfig

__all__ = ["BackendQueue", "QueuePlace"]

SLACK_US = 20_000
"""Between workers, who came this much later may go first: their clocks tick apart."""

YIELD_S = 0.25
"""So long a worker leaves room to another one whose request has waited longer; that one may hang."""


class QueuePlace(Protocol):
    """What workers tell one another of their queues; `app.metrics.queue_words.QueueWords` in a worker."""

    def publish(self, waiting: int, oldest_us: int) -> None:
        """Says how many wait here, and since when the first of them."""

    def elsewhere(self) -> Elsewhere:
        """What the other workers say."""


class BackendQueue(WaitingRoom):
    """Where one worker's requests wait for room on the backends of one version.

    All workers together let them go in the order of arrival, but for `SLACK_US`. A new state, such as a switch makes,
    has all of them ask again, each at its place: so they follow it to the other version.

    Args:
        config: how many may wait, for how long.
        router: sees the state.
        place: what workers tell one another.
    """

    _LONGEST_TICK_S = 0.1  # to wake up costs more than to look; what leaves in this worker is heard at once

    def __init__(self, config: BackendsConfig, router: TrafficRouter, place: QueuePlace) -> None:
        super().__init__()
        self._config = config
        self._router = router
        self._place = place
        self._backends: Choice | None = None
        self._generation = 0
        self._yields_to = 0
        self._yields_from = 0.0

    def is_anothers_turn(self, transaction: Transaction) -> bool:
        """Whether others have come before a request, which has not waited here yet."""
        if transaction.queued_until:
            return False
        oldest_us = self._place.elsewhere().oldest_us
        return len(self) > 0 or 0 < oldest_us < transaction.request.started_us - SLACK_US

    def turn_for(self, transaction: Transaction, whole: Target, backends: Choice) -> Wait | QueueFull | QueueTimeout:
        """What a request that found no room does: it waits, or is told that it has for long enough, or cannot."""
        now, config = monotonic(), self._config
        if not transaction.queued_until:
            waiting = len(self) + self._place.elsewhere().waiting
            if waiting >= config.queue:
                return QueueFull(f"{waiting} requests are waiting already")
            transaction.queued_until = now + config.queue_timeout
        elif transaction.queued_until <= now:
            return QueueTimeout(f"no backend had room within {config.queue_timeout:g} s")
        self._backends = backends
        self._generation = self._router.generation
        backends.on_room = self._let_due_go
        counted = partial(transaction.recorder.count_queued, whole.version)
        return Wait(self, counted, transaction.queued_until - now, is_queue=True)

    def _noted(self, change: int) -> None:
        self._place.publish(len(self), self.oldest_us)

    def _due(self) -> int:
        self._router.look()
        if self._router.generation != self._generation:
            self._generation = self._router.generation
            return len(self)
        room = self._backends.room - self.on_their_way if self._backends is not None else 0
        if room <= 0 or not self._is_first():
            return 0
        return room

    def _is_first(self) -> bool:
        """Whether the turn is ours rather than another worker's."""
        oldest_us = self._place.elsewhere().oldest_us
        if not 0 < oldest_us < self.oldest_us - SLACK_US:
            return True
        now = monotonic()
        if oldest_us != self._yields_to:
            self._yields_to, self._yields_from = oldest_us, now
        return now - self._yields_from > YIELD_S
