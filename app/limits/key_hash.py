"""What stands for whoever is counted together in the tables of all workers."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from app.protocol.fields import remember
from app.settings.tables.limit_settings import LimitConfig

__all__ = ["KeyHash"]

_MOST_KNOWN: Final = 4096
_LONGEST_KNOWN: Final = 256


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
