"""The store that a fleet agrees in, as what it is asked: revisions, changes that compare, leases, a wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from app.operator_errors import OperatorError

__all__ = ["Expect", "Store", "StoreRefused", "StoreSnapshot", "StoreUnreachable", "StoredValue"]


class StoredValue(NamedTuple):
    """One key's value, the revision of its last change, and the lease that it goes with (0: none)."""

    value: str
    revision: int
    lease: int = 0


class StoreSnapshot(NamedTuple):
    """Everything under a prefix at one revision of the store, by the key without the prefix."""

    revision: int
    entries: Mapping[str, StoredValue]


class Expect(NamedTuple):
    """A key that must not have changed since that revision; 0: it must not exist."""

    key: str
    revision: int


class StoreUnreachable(OperatorError):
    """No word from the store: a change may or may not have been made."""


class StoreRefused(OperatorError):
    """The store answers, and does not let us: password, rights, or it is no such store."""


class Store(Protocol):
    """The store; every method raises `StoreUnreachable` or `StoreRefused`."""

    def read(self, prefix: str) -> StoreSnapshot:
        """All keys that begin so."""

    def change(
        self, expects: Sequence[Expect], puts: Mapping[str, str], deletes: Sequence[str] = (), lease: int = 0
    ) -> int | None:
        """Make all of these changes if all is as expected; gives their revision, None when it is not."""

    def grant(self, seconds: int) -> int:
        """A lease: keys that go with it are deleted when nobody keeps it for so long."""

    def keep(self, lease: int) -> bool:
        """Give a lease its full time again; whether there was one."""

    def revoke(self, lease: int) -> None:
        """End a lease, and delete its keys."""

    def wait(self, prefix: str, revision: int, seconds: float) -> None:
        """Return when something under the prefix has changed after that revision, or when the time is over."""
