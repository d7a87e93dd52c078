"""The limits that are configured, and what one worker counts them in together with all others."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from time import monotonic_ns
from typing import Self

from app.limits.counts import LimitCounts, figures_of, refused_keys
from app.limits.in_flight import InFlight
from app.limits.limit_figures import LimitFigures, RefusedKey
from app.limits.limits_file import LimitsFile, open_limits
from app.limits.rate_cells import RateCells
from app.protocol.fields import remember
from app.settings.tables.limit_settings import LimitConfig

__all__ = ["KeyHash", "SharedLimits"]

_MOST_KNOWN, _LONGEST_KNOWN = 4096, 256


class KeyHash:
    """What stands for a key of one limit in the tables: a keyed hash, so that nobody can choose keys that meet.

    It is of the limit's name and rate, too: another rate begins anew.
    """

    __slots__ = ("_known", "_seed")

    def __init__(self, secret: bytes, limit: LimitConfig) -> None:
        about = f"{limit.name}\0{limit.rate}\0{','.join(limit.key)}\0"
        self._seed = blake2b(about.encode(), digest_size=8, key=secret)
        self._known: dict[bytes, int] = {}  # to work it out takes longer than all the rest

    def of(self, key: bytes) -> int:
        """The hash of a key; never 0."""
        found = self._known.get(key)
        if found is None:
            hashing = self._seed.copy()
            hashing.update(key)
            found = int.from_bytes(hashing.digest(), "little") or 1
            remember(self._known, key, found, _MOST_KNOWN, _LONGEST_KNOWN)
        return found


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
    def of(cls, path: str, limits: Sequence[LimitConfig]) -> Self | None:
        """For a worker; None where there is no limit, and no file is made then."""
        return cls(open_limits(Path(path)), limits) if limits else None

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
