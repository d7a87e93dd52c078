"""When a request of a key may go on: the generic cell rate algorithm, on whole nanoseconds.

A key's requests come due one *increment* apart, and so many may come early at once as the *burst* says. All that is
kept of a key is its *theoretical arrival time*: when it would have come due had each of its requests taken an
increment. So there are no windows at whose border twice as many could pass.
"""

from __future__ import annotations

from typing import Final

from app.limits.rate import Rate

__all__ = ["LATE_NS", "turn"]

LATE_NS: Final = 10 * 10**9
"""A clock that was read so long ago is one still: what others have counted since is not taken for a fault."""


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
