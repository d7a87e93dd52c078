"""How many requests per time a limit lets through: the generic cell rate algorithm, on whole nanoseconds.

A key's requests come due one *increment* apart, and so many may come early at once as the *burst* says. All that is
kept of a key is its *theoretical arrival time*: when it would have come due had each of its requests taken an
increment. So there are no windows at whose border twice as many could pass.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["LATE_NS", "MOST_BURST", "MOST_RATE", "Rate", "turn"]

MOST_RATE: Final = 1_000_000
"""Per second, minute or hour. With more, a nanosecond would be a tenth of a per cent of an increment."""

MOST_BURST: Final = 1_000_000

_LONGEST_NS: Final = 366 * 86_400 * 10**9
"""A burst that takes longer to come back than this is a typing error, and would be too much for eight bytes at last."""

LATE_NS: Final = 10 * 10**9
"""A clock that was read so long ago is one still: what others have counted since is not taken for a fault."""

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


def turn(rate: Rate, delay_ns: int, known_ns: int, now_ns: int) -> tuple[int, int]:
    """When a request of a key may go on, and what is to be kept of the key then.

    Args:
        delay_ns: so long a request may be made to wait.
        known_ns: the theoretical arrival time that was kept; any number where nothing was. No key's is further ahead
            than the burst and the delay, so what claims to be is somebody else's, or torn, and counts for nothing.
        now_ns: monotonic, as all of these; a process that was stopped since may be late with it, by `LATE_NS` at most.

    Returns:
        For how long it has to wait, in ns: not at all up to 0, too long beyond `delay_ns`, and it is refused then; and
        its key's new theoretical arrival time if it is not.
    """
    increment, span = rate.increment_ns, rate.span_ns
    begins = known_ns if now_ns < known_ns <= now_ns + span + delay_ns + LATE_NS else now_ns
    return begins + increment - span - now_ns, begins + increment
