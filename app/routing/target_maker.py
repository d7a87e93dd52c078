"""What the router makes of a version of the state: its target, and the choice where it has several backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b

from app.address import Address, Backend
from app.metrics.backend_rows import who
from app.routing.backends import Backends, Counts
from app.routing.choosing import chooser_of
from app.routing.roster import Policy, Roster
from app.routing.targets import Target
from app.settings.tables.backends_settings import BackendsConfig
from app.state.listening import places
from app.state.model import VersionState
from app.upstream.session import UpstreamSession

__all__ = ["TargetMaker"]


class TargetMaker:
    """Makes the targets of one worker.

    Args:
        address: of the loopback, where versions listen.
        config: where versions listen that others run, and how one of several is chosen.
        threshold: gateway failures in a row after which a backend is left alone.
        session: the session of an address.
        counts: makes what the workers know of a version's backends, by its index.
        now: seconds, the same for a whole turn of the event loop.
        names: the addresses of names, as they are known.
    """

    def __init__(
        self,
        address: str,
        config: BackendsConfig,
        threshold: int,
        session: Callable[[Address], UpstreamSession],
        counts: Callable[[int], Counts],
        now: Callable[[], float],
        names: Callable[[str], Iterable[str]],
    ) -> None:
        self._address = address
        self._config = config
        self._policy = Policy(threshold, config.eject_time, config.slow_start)
        self._session = session
        self._make_counts = counts
        self._counts: dict[int, Counts] = {}
        self._came: dict[int, dict[Address, float]] = {}
        self._served: dict[int, frozenset[tuple[Address, float | None]]] = {}
        self._now = now
        self._names = names

    def backends_of(self, version: VersionState) -> tuple[Backend, ...]:
        """Where a version listens."""
        return places(version, self._address, self._config, self._names)

    def welcome(self, version: VersionState) -> None:
        """Takes back what this worker has said of backends that get requests from this state on, not from before.

        Whoever has started or replaced one has found it well, and what stood there before is gone. Without this, one
        would be left alone until the next health check, or for what its predecessor had done.
        """
        listed = self.backends_of(version)
        counts = self._counts_of(version.index)
        counts.name(backend.address for backend in listed)
        if len(listed) == 1:
            self._served.pop(version.index, None)
            return
        serving = frozenset(
            (backend.address, version.started_at)
            for backend in listed
            if version.status not in ("starting", "stopping") and str(backend.address) not in version.drained
        )
        new = {address for address, _ in serving - self._served.get(version.index, frozenset())}
        self._served[version.index] = serving
        for number, backend in enumerate(listed):
            if backend.address in new:
                counts.say_unwell(number, False)
                counts.say_out(number, 0)

    def settle(self, version: int) -> None:
        """A request that was about to go to a version, by its index, as it was before goes there no more."""
        self._counts_of(version).settle()

    def target_of(self, version: VersionState) -> Target:
        """The version's target; of one with several backends it chooses among theirs."""
        listed = self.backends_of(version)
        whole = self._target_at(version, listed[0].address)
        limit = self._config.max_in_flight
        if len(listed) > 1 or limit:
            targets = [self._target_at(version, backend.address) for backend in listed]
            for number, target in enumerate(targets):
                target.whole, target.backend, target.who = whole, number, who(str(target.address))
                if self._config.affinity and len(listed) > 1:
                    target.cookie = _cookie_of(version, target.address)
            choose, key_of = chooser_of(self._config.balance, listed)
            roster, counts = self._roster(version, targets, listed), self._counts_of(version.index)
            counts.name(backend.address for backend in listed)
            whole.backends = Backends(roster, choose, key_of, counts, limit, self._now)
        return whole

    def _roster(self, version: VersionState, targets: list[Target], listed: tuple[Backend, ...]) -> Roster:
        drained = [number for number, one in enumerate(listed) if str(one.address) in version.drained]
        came = self._came.setdefault(version.index, {})
        for address in came.keys() - {backend.address for backend in listed}:
            del came[address]
        return Roster(targets, [backend.weight for backend in listed], drained, self._policy, came)

    def _counts_of(self, version: int) -> Counts:
        """One for each version, whatever becomes of the state: requests on their way go on counting in it."""
        counts = self._counts.get(version)
        if counts is None:
            counts = self._counts[version] = self._make_counts(version)
        return counts

    def _target_at(self, version: VersionState, address: Address) -> Target:
        # A file written by hand says nothing about the process, and "stopped" is what it then is taken for.
        was_ours = version.pid is not None or version.started_at is not None
        session = self._session(address)
        return Target(
            version.index,
            version.name,
            address,
            session.send,
            was_ours and version.status == "stopped",
            version.status == "starting",
            version.release or "",
            session.connections,
        )


def _cookie_of(version: VersionState, address: Address) -> bytes:
    """Names a backend to the clients that had it, without telling them where it is."""
    return blake2b(f"{version.name} {address}".encode(), digest_size=8).hexdigest().encode()
