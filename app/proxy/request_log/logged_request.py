"""A request that is over, as the lines of the log tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from time import time_ns
from typing import NamedTuple

from app.proxy.transaction import Transaction

__all__ = ["LoggedRequest", "value_of", "wall_clock"]


class LoggedRequest(NamedTuple):
    """What a line is made of.

    `status` is what the client saw, `cause` one of `app.errors.CAUSES`, `bytes_in` those of the body and of a tunnel,
    `now_us` monotonic microseconds.
    """

    transaction: Transaction
    status: int
    cause: str
    bytes_in: int
    now_us: int


def value_of(fields: Sequence[tuple[bytes, bytes]], name: bytes) -> str:
    """The first value of a header field, whose name is given in small letters; "" where there is none."""
    size = len(name)
    for known, value in fields:
        if len(known) == size and known.lower() == name:
            return value.decode("latin-1")
    return ""


def wall_clock() -> tuple[int, int]:
    """Seconds since the epoch, and the milliseconds."""
    return divmod(time_ns() // 1_000_000, 1000)
