"""How each backend of a version with several is: what status, health, metrics and the page show of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from app.address import MAX_BACKENDS, Address
from app.metrics import layout

__all__ = ["DRAINED", "EJECTED", "OK", "TIMES_BITS", "UNHEALTHY", "BackendRow", "Source", "backend_rows", "who"]

OK: Final = "ok"
EJECTED: Final = "ejected"
UNHEALTHY: Final = "unhealthy"
DRAINED: Final = "drained"

_REASONS = {
    OK: "",
    EJECTED: "too many requests failed in a row",
    UNHEALTHY: "its health checks fail",
    DRAINED: "taken out by hand",
}

TIMES_BITS = 4
"""A word of the column `out` is a moment, monotonic µs, and behind it how many times in a row, in so many bits."""


class BackendRow(NamedTuple):
    """One backend, as all workers together have it.

    Attributes:
        address: as it is written in the settings.
        state: `OK`; `EJECTED`, left alone for `ejected_for_s` more; `UNHEALTHY`; or `DRAINED`.
        reason: of any state but `OK`.
        in_flight: requests, in live workers.
        requests: begun so far, further attempts included.
        failures: gateway failures so far.
    """

    address: str
    state: str
    reason: str
    in_flight: int
    requests: int
    failures: int
    ejected_for_s: float

    @property
    def is_out(self) -> bool:
        """Whether it has no requests although nobody has said so."""
        return self.state in (EJECTED, UNHEALTHY)


class Source(NamedTuple):
    """One slot of the metrics file.

    Attributes:
        is_alive: its owner lives, so its requests are in flight.
        is_well: it does not hang either, so what it says of this moment counts.
    """

    slot: int
    is_alive: bool
    is_well: bool


def who(address: str) -> int:
    """The word by which the slots know a backend: lists change, and what was counted stays with the address."""
    return int.from_bytes(blake2b(address.encode(), digest_size=layout.WORD).digest(), "little") or 1


def backend_rows(
    words: memoryview[int],
    sources: Iterable[Source],
    version: int,
    addresses: Sequence[Address],
    now_us: int,
    drained: Collection[str] = (),
) -> tuple[BackendRow, ...]:
    """The backends of version 0 or 1, in their order.

    Args:
        words: the metrics file.
        sources: all slots that were ever used.
        addresses: where the version listens.
        now_us: monotonic.
        drained: the addresses that were taken out by hand.
    """
    named = {str(address): _Sum() for address in addresses}
    sums = {who(address): found for address, found in named.items()}
    for slot, is_alive, is_well in sources:
        who_at, requests_at, failures_at = (
            layout.backend_totals_at(slot, version, column) for column in layout.BACKEND_TOTALS
        )
        for number, one in enumerate(words[who_at : who_at + MAX_BACKENDS].tolist()):
            found = sums.get(one)
            if found is None:
                continue
            found.requests += words[requests_at + number]
            found.failures += words[failures_at + number]
            in_flight, out, unwell = (
                words[layout.backends_at(slot, version, column) + number] for column in layout.BACKEND_COLUMNS
            )
            if is_alive:
                found.in_flight += in_flight
            if is_well:
                found.out = max(found.out, out)
                found.unwell |= unwell
    return tuple(_row(address, found, now_us, drained) for address, found in named.items())


class _Sum:
    """What the slots say of one backend."""

    def __init__(self) -> None:
        self.in_flight = self.requests = self.failures = self.out = self.unwell = 0


def _row(address: str, found: _Sum, now_us: int, drained: Collection[str]) -> BackendRow:
    left_us = (found.out >> TIMES_BITS) - now_us
    states = {DRAINED: address in drained, UNHEALTHY: bool(found.unwell), EJECTED: left_us > 0}
    state = next((state for state, is_so in states.items() if is_so), OK)
    ejected_for_s = left_us / 1e6 if state == EJECTED else 0.0
    counts = (found.in_flight, found.requests, found.failures)
    return BackendRow(address, state, _REASONS[state], *counts, ejected_for_s)
