"""Accepting connections so that the workers, which share one listening socket, end up with equal shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent.server import StreamServer

__all__ = ["FairServer"]

_SLACK = 2
"""Connections that a worker may be ahead of the least busy one; an eighth of a larger share is fair as well."""

_PAUSE_S = 0.001
_PAUSES_MAX = 20
"""A worker that is ahead leaves a connection to the others for at most 20 ms: were they all stuck, it takes it."""


class FairServer(StreamServer):  # type: ignore[misc]  # gevent has no types
    """Leaves a new connection to the other workers while it holds more connections than they do.

    The kernel wakes every worker for a connection and the first one gets it; in a burst one worker can be first
    each time and end up with all connections, on one core. SO_REUSEPORT spreads them by chance instead, and
    loses those in the queue of a worker that ends.

    Args:
        held: how many connections this worker holds.
        least_held: the fewest that another worker which accepts holds; None when there is no other.
        publish: tells the other workers how many this one holds.
    """

    def __init__(
        self,
        listener: Any,
        held: Callable[[], int],
        least_held: Callable[[], int | None],
        publish: Callable[[int], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(listener, **kwargs)
        self.max_accept = 1  # each accept is decided anew
        self._held = held
        self._least_held = least_held
        self._publish = publish
        self._pauses = 0

    def start(self) -> None:
        """Begins to accept, and says so to the other workers."""
        self._publish(self._held())
        super().start()

    def do_read(self) -> Any:
        """The next connection, or None when there is none or another worker shall have it."""
        if self._is_ahead() and self._pauses < _PAUSES_MAX:
            self._pauses += 1
            self.stop_accepting()
            self._timer = self.loop.timer(_PAUSE_S)
            self._timer.start(self._start_accepting_if_started)
            return None
        self._pauses = 0
        accepted = super().do_read()
        if accepted is not None:
            self._publish(self._held() + 1)
        return accepted

    def _is_ahead(self) -> bool:
        least = self._least_held()
        return least is not None and self._held() > least + max(_SLACK, least // 8)
