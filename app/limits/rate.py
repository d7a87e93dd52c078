"""How many requests per time a limit lets through, as settings say it and in whole nanoseconds."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["MOST_BURST", "MOST_LIMITS", "MOST_RATE", "Rate"]

MOST_RATE: Final = 1_000_000
"""Per second, minute or hour. With more, a nanosecond would be a tenth of a per cent of an increment."""

MOST_BURST: Final = 1_000_000

MOST_LIMITS: Final = 64
"""Places for their figures in the file that all workers share."""

_LONGEST_NS: Final = 366 * 86_400 * 10**9
"""A burst that takes longer to come back than this is a typing error, and would be too much for eight bytes at last."""

_TEXT = re.compile(r"([1-9]\d{0,6})/([smh])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}


class Rate(NamedTuple):
    """So many requests within so many seconds, and a burst of them at once.

    Attributes:
        increment_ns: the time that one request takes of its key's allowance.
        span_ns: the time in which a burst comes back.
    """

    requests: int
    per_s: int
    burst: int
    increment_ns: int
    span_ns: int

    @classmethod
    def parse(cls, text: str, burst: int = 0) -> Rate:
        """A rate such as "10/m", per s, m or h; a burst of 0 is the rate's number. Raises `ValueError`."""
        found = _TEXT.fullmatch(text)
        if found is None or int(found[1]) > MOST_RATE:
            raise ValueError(f"{text!r} is no rate such as 10/s, 100/m or 1000/h")
        requests, per_s = int(found[1]), _SECONDS[found[2]]
        increment_ns = per_s * 10**9 // requests
        span_ns = increment_ns * (burst or requests)
        if span_ns > _LONGEST_NS:
            raise ValueError(f"a burst of {burst} at {text} takes longer than a year to come back")
        return cls(requests, per_s, burst or requests, increment_ns, span_ns)
