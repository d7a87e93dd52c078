"""A store in memory that keeps etcd's promises, with its time in the test's hand: revisions, leases, backups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from app.fleet.fleet_store import Expect, StoredValue, StoreSnapshot, StoreUnreachable

__all__ = ["Client", "ModelStore"]


class ModelStore:
    """The server: `now` is its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.revision = 1
        self.entries: dict[str, StoredValue] = {}
        self._leases: dict[int, tuple[int, float]] = {}
        self._made = 0
        self._backup: tuple[int, dict[str, StoredValue]] = (1, {})

    def advance(self, seconds: float) -> None:
        """Time goes by, and keys go with their leases."""
        self.now += seconds
        for lease in [it for it, (_, ends) in self._leases.items() if ends <= self.now]:
            self.revoke(lease)

    def back_up(self) -> None:
        """Keep what there is now."""
        self._backup = (self.revision, dict(self.entries))

    def restore(self) -> None:
        """Be what was kept: revisions begin again from there, and leases have their full time."""
        self.revision, entries = self._backup
        self.entries = dict(entries)
        self._leases = {it: (seconds, self.now + seconds) for it, (seconds, _) in self._leases.items()}
        for entry in entries.values():
            if entry.lease and entry.lease not in self._leases:
                self._leases[entry.lease] = (10, self.now + 10)

    def change(
        self, expects: Sequence[Expect], puts: Mapping[str, str], deletes: Sequence[str], lease: int
    ) -> int | None:
        for key, revision in expects:
            if (self.entries[key].revision if key in self.entries else 0) != revision:
                return None
        if lease and lease not in self._leases:
            return None
        self.revision += 1
        for key, value in puts.items():
            self.entries[key] = StoredValue(value, self.revision, lease)
        for key in deletes:
            self.entries.pop(key, None)
        return self.revision

    def grant(self, seconds: int) -> int:
        self._made += 1
        self._leases[self._made] = (seconds, self.now + seconds)
        return self._made

    def keep(self, lease: int) -> bool:
        if lease in self._leases:
            self._leases[lease] = (self._leases[lease][0], self.now + self._leases[lease][0])
        return lease in self._leases

    def revoke(self, lease: int) -> None:
        self._leases.pop(lease, None)
        gone = [key for key, entry in self.entries.items() if entry.lease == lease]
        if gone:
            self.revision += 1
        for key in gone:
            del self.entries[key]


class Client:
    """One process's way to it, which can be cut; `meanwhile` is done right before its next change."""

    def __init__(self, server: ModelStore) -> None:
        self.server = server
        self.is_cut = False
        self.meanwhile: Callable[[], None] | None = None

    def _reach(self) -> ModelStore:
        if self.is_cut:
            raise StoreUnreachable("the link is cut")
        return self.server

    def read(self, prefix: str) -> StoreSnapshot:
        server = self._reach()
        found = {key: entry for key, entry in server.entries.items() if key.startswith(prefix)}
        return StoreSnapshot(server.revision, found)

    def change(
        self, expects: Sequence[Expect], puts: Mapping[str, str], deletes: Sequence[str] = (), lease: int = 0
    ) -> int | None:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return self._reach().change(expects, puts, deletes, lease)

    def grant(self, seconds: int) -> int:
        return self._reach().grant(seconds)

    def keep(self, lease: int) -> bool:
        return self._reach().keep(lease)

    def revoke(self, lease: int) -> None:
        self._reach().revoke(lease)

    def wait(self, prefix: str, revision: int, seconds: float) -> None:
        self._reach()
