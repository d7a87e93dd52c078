"""Log lines about limits that are reached, few however often they are."""

from __future__ import annotations

from collections.abc import Callable
from logging import Logger
from time import monotonic

__all__ = ["Notices"]

_EVERY_S = 5.0


class Notices:
    """Warns at once, then at most every five seconds, with the number of times in between."""

    def __init__(self, logger: Logger, clock: Callable[[], float] = monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._next_at = 0.0
        self._unsaid = 0

    def is_due(self) -> bool:
        """Whether `say` would say it, for who has to look for words; otherwise it counts as one more time."""
        is_due = self._clock() >= self._next_at
        self._unsaid += not is_due
        return is_due

    def say(self, text: str) -> None:
        """Something has reached its limit."""
        if not self.is_due():
            return
        since = f"; {self._unsaid} more times since the last line like this" if self._unsaid else ""
        self._logger.warning("%s%s", text, since)
        self._unsaid = 0
        self._next_at = self._clock() + _EVERY_S
