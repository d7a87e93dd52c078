"""How one of several backends is chosen: by what they have to do, in turn, or by what the request carries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log
from typing import Protocol

from app.address import MAX_BACKENDS, Backend
from app.protocol.field_values import cookie_in, field_in
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestHead

__all__ = ["Chooser", "chooser_of"]

BOUND = 1.25
"""A backend that a hash has chosen may have so many times the mean to do; else the next one is asked."""


class Chooser(Protocol):
    """Picks one of the backends by their numbers."""

    def __call__(
        self, in_flight: Sequence[int], usable: Sequence[int], weights: Sequence[float] | None, key: bytes
    ) -> int:
        """The one to take of `usable`, which is not empty.

        `weights` are those of all; None where they are the same. `key` is b"" where the request has none.
        """


class Least:
    """The one with the fewest requests in flight for its weight; in turn where several have as few."""

    def __init__(self) -> None:
        self._turn = 0

    def __call__(
        self, in_flight: Sequence[int], usable: Sequence[int], weights: Sequence[float] | None, key: bytes
    ) -> int:
        """As `Chooser`."""
        count = len(usable)
        turn = self._turn = (self._turn + 1) % count
        if weights is None and count == len(in_flight):
            least = min(in_flight)
            return turn if in_flight[turn] == least else in_flight.index(least)
        in_turn = (*usable[turn:], *usable[:turn])
        if weights is None:
            return min(in_turn, key=in_flight.__getitem__)
        return min(in_turn, key=lambda one: (in_flight[one] + 1) / weights[one])


class RoundRobin:
    """Each in turn, as often as its weight says, evenly spread: the smooth weighted way of nginx."""

    def __init__(self) -> None:
        self._credit: list[float] = [0.0] * MAX_BACKENDS

    def __call__(
        self, in_flight: Sequence[int], usable: Sequence[int], weights: Sequence[float] | None, key: bytes
    ) -> int:
        """As `Chooser`."""
        credit, total = self._credit, 0.0
        best = usable[0]
        for one in usable:
            weight = 1.0 if weights is None else weights[one]
            total += weight
            credit[one] += weight
            if credit[one] > credit[best]:
                best = one
        credit[best] -= total
        return best


class Hashed:
    """The same one for the same key: rendezvous hashing, so that a backend's end moves no other's keys.

    One that has too much to do is passed over for the next in the key's own order (consistent hashing with bounded
    loads). Requests without a key go where there is the least to do.
    """

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._salts = [blake2b(str(one.address).encode(), digest_size=16).digest() for one in backends]
        self._even = [1.0] * len(backends)
        self._least = Least()

    def __call__(
        self, in_flight: Sequence[int], usable: Sequence[int], weights: Sequence[float] | None, key: bytes
    ) -> int:
        """As `Chooser`."""
        if not key:
            return self._least(in_flight, usable, weights, key)
        shares = weights or self._even
        share = BOUND * (sum(in_flight[one] for one in usable) + 1) / sum(shares[one] for one in usable)
        order = sorted(usable, key=lambda one: self._distance(key, one, shares[one]))
        for one in order:
            if in_flight[one] + 1 <= max(1, share * shares[one]):
                return one
        return self._least(in_flight, usable, weights, key)

    def _distance(self, key: bytes, one: int, weight: float) -> float:
        """The lowest is first; with twice the weight it is that twice as often."""
        found = int.from_bytes(blake2b(key, digest_size=8, salt=self._salts[one]).digest(), "big")
        # An exponential variable with the weight as its rate: the least of them is a backend's with its share's odds.
        return -log((found + 1) / 2.0**64) / weight


_KINDS: dict[str, Callable[[], Chooser]] = {"least": Least, "round-robin": RoundRobin}

KeyOf = Callable[[RequestHead, Forwarding], bytes]
"""What a request is hashed by: of its head, and of what knows the client's address."""


def chooser_of(balance: str, backends: Sequence[Backend]) -> tuple[Chooser, KeyOf | None]:
    """What chooses among `backends` as `[backends] balance` says, and what tells it of a request what it goes by."""
    made = _KINDS.get(balance)
    if made is not None:
        return made(), None
    kind, _, name = balance.removeprefix("hash:").partition("=")
    return Hashed(backends), _key_of(kind, name.encode("latin-1"))


def _key_of(kind: str, name: bytes) -> KeyOf:
    if kind == "client":
        return lambda head, forwarding: forwarding.client_address(head).encode()
    if kind == "cookie":
        return lambda head, forwarding: cookie_in(head.fields, name)
    lower = name.lower()
    return lambda head, forwarding: field_in(head.fields, lower)
