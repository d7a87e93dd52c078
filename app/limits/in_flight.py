"""How many requests of each key are in flight, over all workers: each writes a table of its own, and adds up all.

A request is counted before it is looked whether there was room, so that of two workers at the same instant none lets
one too many pass; both may refuse then. The table of a worker that died counts for nothing as soon as the kernel has
taken its lock: this is looked at when the sum is too high, so that who is let through asks the kernel nothing.
"""

from __future__ import annotations

from app.limits import limits_map as at
from app.limits.limits_file import LimitsFile
from app.limits.limits_map import H
from app.metrics.locks import claim_byte

__all__ = ["InFlight"]

_SET_WORDS = at.IN_FLIGHT_WAYS * 2


class InFlight:
    """The tables in a `LimitsFile`, of which this process's own is written."""

    __slots__ = ("_asking", "_own", "_words")

    def __init__(self, file: LimitsFile) -> None:
        self._words = file.words
        self._own = file.slot
        self._asking = file.asking

    def enter(self, key: int, most: int) -> int:
        """Counts one request of a key in flight; gives the place to `leave`.

        -1: the key has `most` already. 0: let it pass uncounted, for this worker has no place for one more key.
        """
        words, begin = self._words, at.IN_FLIGHT_AT + key % at.IN_FLIGHT_SETS * _SET_WORDS
        place = self._place_for(key, at.slot_at(self._own) + begin)
        if not place:
            return 0
        words[place + 1] += 1
        if self._sum(key, begin, most) > most:
            words[place + 1] -= 1
            return -1
        return place

    def leave(self, place: int) -> None:
        """One less in flight."""
        self._words[place + 1] -= 1

    def _place_for(self, key: int, first: int) -> int:
        cells = self._words[first : first + _SET_WORDS].tolist()
        keys, counts = cells[::2], cells[1::2]
        if key in keys:
            return first + 2 * keys.index(key)
        if 0 not in counts:
            return 0
        place = first + 2 * counts.index(0)
        self._words[place] = key
        return place

    def _sum(self, key: int, begin: int, most: int) -> int:
        """All of them; those of the dead only as long as there is room anyway."""
        words, found = self._words, []
        for slot in range(words[H["used_slots"]]):
            first = at.slot_at(slot) + begin
            cells = words[first : first + _SET_WORDS].tolist()
            keys = cells[::2]
            if key in keys:
                found.append((slot, cells[2 * keys.index(key) + 1]))
        together = sum(count for _, count in found)
        if together <= most:
            return together
        return sum(count for slot, count in found if count and self._is_alive(slot))

    def _is_alive(self, slot: int) -> bool:
        return slot == self._own or self._asking is None or self._asking.is_held(claim_byte(slot))
