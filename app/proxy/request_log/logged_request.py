"""A request that is over, as the lines of the log tell of it."""

from __future__ import annotations

from time import time_ns
from typing import NamedTuple

from app.proxy.transaction import Transaction

__all__ = ["LoggedRequest", "wall_clock"]


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


def wall_clock() -> tuple[int, int]:
    """Seconds since the epoch, and the milliseconds."""
    return divmod(time_ns() // 1_000_000, 1000)
