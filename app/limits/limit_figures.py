"""What is told of the limits: plain values, detached from the file."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LimitFigures", "RefusedKey"]


class LimitFigures(NamedTuple):
    """What one limit has done so far, over all workers, in requests.

    Attributes:
        passed: let through, the delayed ones included.
        would_refuse: let through in a dry run, and else refused.
    """

    name: str
    passed: int
    refused: int
    delayed: int
    would_refuse: int


class RefusedKey(NamedTuple):
    """A key that a limit has refused: how often since it came on the list, and how long ago it last did."""

    limit: str
    key: str
    times: int
    ago_s: float
