"""The receipt of a switch: what became of every request that was there or came, version by version.

The books balance: of the requests that a version had at the switch or was given after it,

    started = finished + cut + in flight

*Finished* got a whole answer, whatever its status. *Cut* got a broken-off one, or none because the worker that
carried it died; their request ids are noted. *In flight* are still being answered when the receipt is written;
none after a complete drain.
Of the started ones some were *held* back for a while before they were sent, and some were *retried*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import sub
from types import MappingProxyType
from typing import NamedTuple, Self

from app.address import Address
from app.deploy.traffic import Cut, Tally, Traffic
from app.metrics.backend_rows import BackendRow
from app.metrics.histogram import BUCKETS, bucket_low
from app.metrics.snapshot import Streams

__all__ = ["MOST_IDS", "BackendReceipt", "VersionReceipt", "SwitchAccount", "Receipt", "settle_account"]


class BackendReceipt(NamedTuple):
    """What one of a version's several backends had of its requests; `failures` are attempts at a request."""

    started: int
    failures: int


class VersionReceipt(NamedTuple):
    """What became of a version's requests from the switch to the end of the command.

    `held_max_ms` is exact when no hold was ever longer, else at most 1/32 too long. `cut_ids` are the request
    ids of the cut ones as far as they are known, at most `MOST_IDS`. `streams` are those of the ended ones that were
    event streams or tunnels. `backends` are there by address where the version has several.
    """

    started: int
    finished: int
    cut: int
    in_flight: int
    failed: int
    held: int
    held_mean_ms: float | None
    held_max_ms: float | None
    retried: int
    cut_ids: tuple[str, ...] = ()
    streams: Streams = Streams()
    backends: Mapping[str, BackendReceipt] = MappingProxyType({})

    def as_json(self) -> dict[str, object]:
        """The account as the history keeps it."""
        found = self._asdict() | {"cut_ids": list(self.cut_ids), "streams": self.streams._asdict()}
        del found["backends"]
        backends = {address: one._asdict() for address, one in self.backends.items()}
        return found | ({"backends": backends} if backends else {})


class Receipt(NamedTuple):
    """The accounts of both versions; `drain_s` is None when the command did not wait for a drain.

    `remaining` names requests that were in flight when the time for the drain was up.
    """

    accounts: Mapping[str, VersionReceipt]
    duration_s: float
    drain_s: float | None = None
    remaining: tuple[str, ...] = ()

    @property
    def longest_hold_ms(self) -> float | None:
        """The longest that any request was held; None when none was."""
        return max((one.held_max_ms for one in self.accounts.values() if one.held_max_ms is not None), default=None)

    def as_json(self) -> dict[str, object]:
        """The receipt as the history keeps it."""
        return {
            "versions": {name: one.as_json() for name, one in self.accounts.items()},
            "longest_hold_ms": self.longest_hold_ms,
            "duration_s": round(self.duration_s, 3),
            "drain_s": None if self.drain_s is None else round(self.drain_s, 3),
            "remaining": list(self.remaining),
        }


MOST_IDS = 100
"""Of cut requests in a receipt: enough to look into what went wrong, and no book by itself."""


def settle_account(before: Tally, after: Tally, cut_ids: Sequence[str] = ()) -> VersionReceipt | None:
    """The account between two tallies; None when the metrics were begun anew in between.

    `cut_ids` names the requests that were cut in between, as far as they are known.

    What was in flight at the switch and what came later are counted together, as started: the first of the
    two figures could be read only a moment before or after the switch, their sum is exact at any moment.
    """
    ended, cut, held = after.ended - before.ended, after.cut - before.cut, after.held - before.held
    failed, retried = after.failed - before.failed, after.retried - before.retried
    if min(ended, cut, held, failed, retried) < 0:
        return None
    return VersionReceipt(
        started=ended + after.in_flight,
        finished=ended - cut,
        cut=cut,
        in_flight=after.in_flight,
        failed=failed,
        held=held,
        held_mean_ms=(after.held_ms - before.held_ms) / held if held else None,
        held_max_ms=_longest_hold_ms(before, after) if held else None,
        retried=retried,
        cut_ids=tuple(cut_ids[:MOST_IDS]),
        streams=Streams(*map(sub, after.streams, before.streams)),
    )


def _longest_hold_ms(before: Tally, after: Tally) -> float:
    """The longest hold that came between two tallies.

    If it is the longest ever it is known exactly. If not, the highest bucket that grew has it: its upper end.
    """
    if after.longest_held_ms > before.longest_held_ms:
        return after.longest_held_ms
    pairs = enumerate(zip(before.held_counts, after.held_counts, strict=True))
    highest = max((index for index, (old, new) in pairs if new > old), default=BUCKETS - 1)
    upper_us = bucket_low(highest + 1) - 1
    return min(upper_us / 1000, after.longest_held_ms)


@dataclass(eq=False, repr=False)
class SwitchAccount:
    """The tallies at the moment of a switch, to be compared with those at the end of the command.

    Those of the version that gets the traffic are read just before, since requests that were held go to it at once;
    those of the version that loses it just after, when it has nothing but what is still in flight.
    """

    traffic: Traffic
    opened_at: float
    places: Mapping[str, Sequence[Address]]
    before: Mapping[str, Tally]
    cut_before: Sequence[Cut]
    backends_before: Mapping[str, Sequence[BackendRow]]
    drain_s: float | None = None
    remaining: tuple[str, ...] = ()

    @classmethod
    def open(cls, traffic: Traffic, now: float, places: Mapping[str, Sequence[Address]]) -> Self:
        """The books of a switch that comes next; `now` is monotonic, `places` are of the versions with several.

        Figures first, names after them, and the other way round at the end: whoever is named is counted.
        """
        tallies = traffic.tallies()
        backends = {name: traffic.backends(name, addresses) for name, addresses in places.items()}
        return cls(traffic, now, places, tallies, traffic.cuts(), backends)

    def lost_traffic(self, version: str) -> None:
        """Begins the account of a version anew, whose traffic has just gone to the other one."""
        self.before = {**self.before, version: self.traffic.tallies()[version]}
        if version in self.places:
            backends = self.traffic.backends(version, self.places[version])
            self.backends_before = {**self.backends_before, version: backends}
        self.cut_before = [*self.cut_before, *(cut for cut in self.traffic.cuts() if cut.version == version)]

    def close(self, now: float) -> Receipt | None:
        """The receipt; None when the router's metrics were begun anew since. `now` is monotonic."""
        cuts = [cut for cut in self.traffic.cuts() if cut not in self.cut_before]
        after = self.traffic.tallies()
        accounts = {
            name: settle_account(tally, after[name], [cut.request_id for cut in cuts if cut.version == name])
            for name, tally in self.before.items()
        }
        complete = {
            name: account._replace(backends=self._backends(name))
            for name, account in accounts.items()
            if account is not None
        }
        if len(complete) < len(accounts):
            return None
        return Receipt(complete, now - self.opened_at, self.drain_s, self.remaining)

    def _backends(self, name: str) -> dict[str, BackendReceipt]:
        """As the version's own account: what was in flight at the switch counts as started."""
        if name not in self.places:
            return {}
        pairs = zip(self.backends_before[name], self.traffic.backends(name, self.places[name]), strict=True)
        return {
            after.address: BackendReceipt(
                after.requests - before.requests + before.in_flight, after.failures - before.failures
            )
            for before, after in pairs
        }
