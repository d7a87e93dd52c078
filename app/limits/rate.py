"""How many requests per time a limit lets through: the generic cell rate algorithm, on whole nanoseconds.

A key's requests come due one *increment* apart, and so many may come early at once as the *burst* says. All that is
kept of a key is its *theoretical arrival time*: when it would have come due had each of its requests taken an
increment. So there are no windows at whose border twice as many could pass.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["MOST_BURST", "MOST_RATE", "Rate"]

MOST_RATE: Final = 1_000_000
"""Per second, minute or hour. With more, a nanosecond would be a tenth of a per cent of an increment."""

MOST_BURST: Final = 1_000_000

_LONGEST_NS: Final = 366 * 86_400 * 10**9
"""A burst that takes longer to come back than this is a typing error, and would be too much for eight bytes at last."""

_TEXT = re.compile(r"([1-9]\d{0,6})/([smh])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}


class Rate(NamedTuple):
    """So many requests within so many seconds, and of these a burst at once."""

    requests: int
    per_s: int
    burst: int

    @classmethod
    def parse(cls, text: str, burst: int = 0) -> Rate:
        """A rate such as "10/m", per s, m or h; a burst of 0 is the rate's number. Raises `ValueError`."""
        found = _TEXT.fullmatch(text)
        if found is None or int(found[1]) > MOST_RATE:
            raise ValueError(f"{text!r} is no rate such as 10/s, 100/m or 1000/h")
        rate = cls(int(found[1]), _SECONDS[found[2]], burst or int(found[1]))
        if rate.span_ns > _LONGEST_NS:
            raise ValueError(f"a burst of {burst} at {text} takes longer than a year to come back")
        return rate

    @property
    def increment_ns(self) -> int:
        """The time that one request takes of its key's allowance."""
        return self.per_s * 10**9 // self.requests

    @property
    def span_ns(self) -> int:
        """The time in which a burst comes back; no key is ever further ahead of the clock than this."""
        return self.burst * self.increment_ns
