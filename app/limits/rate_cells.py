"""How often each key has asked: a table of fixed size that all workers read and write without a lock.

A key has one place in a set of four. Where its set is full, the key that is most idle gives way: it loses what it had
used of its allowance, which is the least of the four. Two workers that count the same key at the same instant may both
read what the other has not written yet: so at most as many requests more pass as there are other workers. The instant
is that between a last look at the place and the store, which is why there is a last look.

Any interleaving of two writers, and any death between the two stores, leaves a place with one of the keys and one of
the times. A time that is not the key's own counts for nothing when it is too far ahead to be (`app.limits.rate.turn`),
and otherwise is over within the time in which a burst comes back.
"""

from __future__ import annotations

from app.limits import limits_map as at
from app.limits.rate import Rate, turn

__all__ = ["RateCells"]

_SET_WORDS = at.RATE_WAYS * 2


class RateCells:
    """The table in the words of a `LimitsFile`."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview[int]) -> None:
        self._words = words

    def hit(self, key: int, rate: Rate, delay_ns: int, now_ns: int) -> int:
        """Counts one request of a key, unless it is refused.

        Args:
            key: the hash of the key.
            delay_ns: so long a request may be made to wait.
            now_ns: monotonic.

        Returns for how long it has to wait, in ns; it is refused when that is more than `delay_ns`.
        """
        words = self._words
        first = at.RATES_AT + key % at.RATE_SETS * _SET_WORDS
        cells = words[first : first + _SET_WORDS].tolist()
        keys, times = cells[::2], cells[1::2]
        if key in keys:
            return self._hit_again(first + 2 * keys.index(key) + 1, rate, delay_ns, now_ns)
        wait_ns, then_ns = turn(rate, delay_ns, 0, now_ns)
        cell = first + 2 * times.index(min(times))
        words[cell + 1] = 0  # before the key: dying here leaves one that has used nothing
        words[cell] = key
        words[cell + 1] = then_ns
        return wait_ns

    def _hit_again(self, place: int, rate: Rate, delay_ns: int, now_ns: int) -> int:
        words = self._words
        known_ns = words[place]
        while True:
            wait_ns, then_ns = turn(rate, delay_ns, known_ns, now_ns)
            if wait_ns > delay_ns:
                return wait_ns
            seen_ns, known_ns = known_ns, words[place]
            if known_ns == seen_ns:
                words[place] = then_ns
                return wait_ns
