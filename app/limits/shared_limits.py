"""The limits that are configured, and what one worker counts them in together with all others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic_ns
from typing import Self

from app.limits.counts import LimitCounts, figures_of, refused_keys
from app.limits.in_flight import InFlight
from app.limits.key_hash import KeyHash
from app.limits.limit_figures import LimitFigures, RefusedKey
from app.limits.limits_file import LimitsFile, open_limits
from app.limits.rate_cells import RateCells
from app.settings.tables.limit_settings import LimitConfig

__all__ = ["SharedLimits"]


class SharedLimits:
    """The parts of one worker's limits.

    Attributes:
        limits: as they are configured; those that need a login come last, as they are asked last.
        rates, in_flight, counts: see their classes; `counts` goes by the place of a limit in `limits`.
    """

    def __init__(self, file: LimitsFile, limits: Sequence[LimitConfig]) -> None:
        self._file = file
        self.limits = sorted(limits, key=lambda limit: limit.needs_login)
        self._names = [limit.name for limit in self.limits]
        self.rates = RateCells(file.words)
        self.in_flight = InFlight(file)
        self.counts = LimitCounts(file.words, file.slot, self._names)

    @classmethod
    def open(cls, path: str, limits: Sequence[LimitConfig]) -> Self:
        """For a worker; the file is made where there is none."""
        return cls(open_limits(Path(path)), limits)

    @property
    def fault(self) -> str:
        """Why this worker counts for itself alone; "" when all is well."""
        return self._file.fault

    def hash_of(self, limit: LimitConfig) -> KeyHash:
        """What hashes the keys of a limit."""
        return KeyHash(self._file.secret, limit)

    def figures(self) -> list[LimitFigures]:
        """What each limit has done so far, over all workers."""
        return figures_of(self._file.words, self._names)

    def refused_keys(self) -> list[RefusedKey]:
        """The keys that were refused last."""
        return refused_keys(self._file.words, self._names, monotonic_ns())

    def close(self) -> None:
        """Gives this worker's place up."""
        self._file.close()
