"""The way of a request before it is sent: a chain of filters, each of which may refuse it, answer it or let it wait.

A filter is a function of the transaction and never blocks. What it finds is a value:

    None          nothing against it; the next filter is asked
    RouterError   the client is told so
    Reply         the router answers by itself, and nothing is wrong
    Wait          it may go on later; then all filters are asked again

The last filter lays the claim. How one waits is decided here: without a claim, with an eye on the client. And because
filters judge by the state as it was seen last, while the claim looks at the file: when that shows another state, the
claim is given back and all are asked again. So what every filter said is true of the state that the request is sent
under. A filter whose effect must not happen twice for a request notes it in the transaction.

`app.proxy.filters` has the filters and their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from app.errors import RouterError
from app.proxy.replies.reply import Reply
from app.proxy.transaction import Transaction
from app.proxy.waiting_room import HoldExpired
from app.routing.router import TrafficRouter
from app.state.model import BlueGreenState
from app.transport.endpoint import Endpoint

__all__ = ["Chain", "Filter", "Room", "Verdict", "Wait"]


class Room(Protocol):
    """Where requests wait; `WaitingRoom`, or what is done for one request alone (`app.proxy.errand`)."""

    def check_space(self) -> None:
        """Raises HoldQueueFull when nobody else may wait."""

    def wait(self, client: Endpoint | None, arrived_us: int, seconds: float | None = None) -> None:
        """Waits. Raises HoldExpired, ClientDisconnected, and what else ends it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Where a request is to wait for its turn.

    `count` is told afterwards for how long it did, in µs; `seconds` is the longest wait, None is without end.
    `is_queue`: it waits for room, and is not held.
    """

    room: Room
    count: Callable[[int], None]
    seconds: float | None = None
    is_queue: bool = False


Verdict = RouterError | Reply | Wait | None
Filter = Callable[[Transaction], Verdict]
Concern = Callable[[BlueGreenState | None], bool]


class Chain:
    """The filters of one worker.

    Args:
        filters: in order; the last one lays the claim.
        router: sees the state.
        concerns: of some of them, whether a state may give them anything to say of a simple request; where it does
            not, they are not asked. The others always are.
        concerns_any: the same, of any request.
    """

    def __init__(
        self,
        filters: Sequence[Filter],
        router: TrafficRouter,
        concerns: Mapping[Filter, Concern] | None = None,
        concerns_any: Mapping[Filter, Concern] | None = None,
    ) -> None:
        self._all = tuple(filters)
        self._router = router
        self._concerns = concerns or {}
        self._concerns_any = concerns_any or {}
        self._filters: tuple[Filter, ...] = ()  # in the state of `_generation`
        self._concerned: tuple[Filter, ...] = ()  # of these, those that a simple request has to do with
        self._generation = -1

    def admit(self, transaction: Transaction, is_held: bool = False) -> RouterError | Reply | None:
        """Asks the filters until the transaction has its claim; returns None then, else what the client is told.

        `is_held`: the caller counts the request as held, with whatever it waits here.

        Raises HoldQueueFull, ClientDisconnected.
        """
        while isinstance(verdict := self.ask(transaction), Wait):
            self._wait(transaction, verdict, is_held)
        return verdict

    def ask(self, transaction: Transaction) -> Verdict:
        """What the filters say of a transaction at this moment, without a wait; with None it has its claim."""
        router = self._router
        while True:
            generation, verdict = router.generation, None
            if generation != self._generation:
                self._look_at(router.seen, generation)
            # Without the tokens that were taken off it, a head may look simple.
            is_simple = transaction.request.head.is_simple and transaction.tokens is None
            for ask in self._concerned if is_simple else self._filters:
                verdict = ask(transaction)
                if verdict is not None:
                    break
            if router.generation == generation:
                return verdict
            if transaction.row is not None:
                transaction.release()

    def _look_at(self, state: BlueGreenState | None, generation: int) -> None:
        self._filters = _those_of(self._all, self._concerns_any, state)
        self._concerned = _those_of(self._filters, self._concerns, state)
        self._generation = generation

    def _wait(self, transaction: Transaction, wait: Wait, is_held: bool) -> None:
        assert transaction.row is None, "who waits is in flight on no version"
        wait.room.check_space()  # who is turned away is not held
        began = monotonic()
        try:
            wait.room.wait(transaction.request.endpoint, transaction.request.started_us, wait.seconds)
        except HoldExpired:
            pass  # the filter says what that means
        finally:
            if not is_held:
                waited_us = int((monotonic() - began) * 1e6)
                wait.count(waited_us)
                delays = transaction.delayed()
                if wait.is_queue:
                    delays.queued_us += waited_us
                else:
                    delays.held_us += waited_us


def _those_of(
    filters: Sequence[Filter], concerns: Mapping[Filter, Concern], state: BlueGreenState | None
) -> tuple[Filter, ...]:
    return tuple(ask for ask in filters if ask not in concerns or concerns[ask](state))
