"""Failovers in the deploy history, written beside the traffic and never in its way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path

import gevent
from gevent.threadpool import ThreadPool

from app.metrics.leader import Turn
from app.operator_errors import StateError
from app.state.model import VERSIONS, other

__all__ = ["FailoverHistory"]

logger = getLogger(__name__)


class FailoverHistory:
    """Writes one line for each turn of a failover; for the leading worker, so that there is one for all workers.

    Args:
        path: the history file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPool | None = None

    def write(self, turns: Sequence[Turn]) -> None:
        """Has their lines written, one after the other; never waits and never raises."""
        gevent.spawn(self._write_all, turns, time.time())

    def _write_all(self, turns: Sequence[Turn], at: float) -> None:
        for turn in turns:
            self._write(turn, at)

    def _write(self, turn: Turn, at: float) -> None:
        # Imported by the first failover: few routers ever see one.
        from app.deploy.record.history import History

        home, standby = VERSIONS[turn.version], other(VERSIONS[turn.version])
        name, came_from, goes_to = ("failback", standby, home) if turn.is_back else ("failover", home, standby)
        detail = f"requests go to {home} again" if turn.is_back else f"{home} is down, so requests go to {standby}"
        # In a thread of its own, one after the other: a command may hold the file's lock, and the disk be slow.
        self._thread = self._thread or ThreadPool(1)
        try:
            self._thread.apply(History(self._path).note, (name, came_from, goes_to, detail, at, "router"))
        except StateError as error:
            logger.error("%s is not in the history: %s", name, error)
