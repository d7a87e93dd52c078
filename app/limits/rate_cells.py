"""How often each key has asked: a table of fixed size that all workers read and write without a lock.

A key has one place in a set of four. Where its set is full, the key that is most idle gives way: it loses what it had
used of its allowance, which is the least of the four.

Two workers that count the same key at the same instant may both read what the other has not written yet, and one that
the kernel stops between its look and its store undoes what the others have counted meanwhile. Theoretical arrival times
only grow, so each worker remembers the latest that it has seen of a key and takes the later one: the next hit in
another worker mends what was undone. So at most as many requests more pass at an instant as there are other workers.

Any interleaving of two writers, and any death between two stores, leaves a place with one of the keys and one of the
times. A time that is not the key's own counts for nothing when it is too far ahead to be (`app.limits.gcra.turn`), and
otherwise is over within the time in which a burst comes back.
"""

from __future__ import annotations

from app.limits import limits_map as at
from app.limits.gcra import turn
from app.limits.rate import Rate

__all__ = ["RateCells"]

_SET_WORDS = at.RATE_WAYS * 2

_MOST_SEEN = 4096


class RateCells:
    """The table in the words of a `LimitsFile`."""

    __slots__ = ("_seen_ns", "_words")

    def __init__(self, words: memoryview[int]) -> None:
        self._words = words
        self._seen_ns: dict[int, int] = {}  # the latest theoretical arrival time, by key

    def hit(self, key: int, rate: Rate, delay_ns: int, now_ns: int) -> int:
        """Counts one request of a key, unless it is refused.

        Args:
            key: the hash of the key.
            delay_ns: so long a request may be made to wait.
            now_ns: monotonic.

        Returns for how long it has to wait, in ns; it is refused when that is more than `delay_ns`.
        """
        words, seen_ns = self._words, self._seen_ns.get(key, 0)
        first = at.RATES_AT + key % at.RATE_SETS * _SET_WORDS
        cells = words[first : first + _SET_WORDS].tolist()
        keys, times = cells[::2], cells[1::2]
        if key in keys:
            place = keys.index(key)
            found_ns = times[place]
            wait_ns, then_ns = turn(rate, delay_ns, found_ns if found_ns > seen_ns else seen_ns, now_ns)
            if wait_ns > delay_ns:
                return wait_ns
        else:
            place = times.index(min(times))
            wait_ns, then_ns = turn(rate, delay_ns, seen_ns, now_ns)
            if wait_ns > delay_ns:
                then_ns = seen_ns
            words[first + 2 * place + 1] = 0  # before the key: dying here leaves one that has used nothing
            words[first + 2 * place] = key
        words[first + 2 * place + 1] = then_ns
        if len(self._seen_ns) == _MOST_SEEN:
            self._seen_ns.clear()
        self._seen_ns[key] = then_ns
        return wait_ns

    def put(self, key: int, then_ns: int) -> int:
        """Sets the theoretical arrival time of a key, for a test; gives what it was, 0 where it had none."""
        words = self._words
        first = at.RATES_AT + key % at.RATE_SETS * _SET_WORDS
        cells = words[first : first + _SET_WORDS].tolist()
        keys, times = cells[::2], cells[1::2]
        place = keys.index(key) if key in keys else times.index(min(times))
        words[first + 2 * place] = key
        words[first + 2 * place + 1] = then_ns
        return times[place] if key in keys else 0
