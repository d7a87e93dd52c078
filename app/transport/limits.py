"""How long a wait may last, said without gevent."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Expired", "Limit", "TimeLimit"]


class Limit(Protocol):
    """Anything that says how long one wait may last; 0 is without end."""

    @property
    def seconds(self) -> float: ...


class TimeLimit(NamedTuple):
    """A plain limit. `Deadlines` is the one that the workers use."""

    seconds: float


class Expired(Exception):
    """A wait lasted longer than its `limit` allows."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(f"nothing within {limit.seconds:g} s")
        self.limit = limit
