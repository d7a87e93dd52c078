"""The receipt of a switch: what became of every request that was there or came, version by version.

The books balance: of the requests that a version had at the switch or was given after it,

    started = finished + cut + in flight

*Finished* got a whole answer, whatever its status. *Cut* got a broken-off one, or none because the worker that
carried it died. *In flight* are still being answered when the receipt is written; none after a complete drain.
Of the started ones some were *held* back for a while before they were sent, and some were *retried*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = ["Account", "Conduct", "Receipt", "Tally", "settle_account"]


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of a version's requests since the metrics began; only the difference of two means something.

    `ended` counts the cut ones too. `failed` are those whose client got a 5xx or a broken-off answer.
    """

    ended: int
    in_flight: int
    cut: int
    failed: int
    held: int
    held_ms: float
    retried: int


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a version did in some stretch of time; `p95_ms` is None without requests."""

    requests: int
    failed: int
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class Account:
    """What became of a version's requests from the switch to the end of the command."""

    started: int
    finished: int
    cut: int
    in_flight: int
    failed: int
    held: int
    held_mean_ms: float | None
    retried: int

    @property
    def balances(self) -> bool:
        """Whether each request that was started is accounted for."""
        return self.started == self.finished + self.cut + self.in_flight


@dataclass(frozen=True, slots=True)
class Receipt:
    """The accounts of both versions; `drain_s` is None when the command did not wait for a drain.

    `remaining` names requests that were in flight when the time for the drain was up.
    """

    accounts: Mapping[str, Account]
    duration_s: float
    drain_s: float | None = None
    remaining: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The receipt as the history keeps it."""
        return {
            "versions": {name: asdict(account) for name, account in self.accounts.items()},
            "duration_s": round(self.duration_s, 3),
            "drain_s": None if self.drain_s is None else round(self.drain_s, 3),
            "remaining": list(self.remaining),
        }


def settle_account(before: Tally, after: Tally) -> Account | None:
    """The account between two tallies; None when the metrics were begun anew in between.

    What was in flight at the switch and what came later are counted together, as started: the first of the
    two figures could be read only a moment before or after the switch, their sum is exact at any moment.
    """
    ended, cut, held = after.ended - before.ended, after.cut - before.cut, after.held - before.held
    failed, retried = after.failed - before.failed, after.retried - before.retried
    if min(ended, cut, held, failed, retried) < 0:
        return None
    return Account(
        started=ended + after.in_flight,
        finished=ended - cut,
        cut=cut,
        in_flight=after.in_flight,
        failed=failed,
        held=held,
        held_mean_ms=(after.held_ms - before.held_ms) / held if held else None,
        retried=retried,
    )
