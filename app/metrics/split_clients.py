"""The clients of a split that keeps each at its version: each is counted once, by its first requests.

A client's requests are alike, so ten failures of one client are one event, not ten. It is open from its first request
on, and closed by its first failure, by its tenth request, or half a minute after its first: then it counts as completed
at its version, failed or not, once. What closes a client has nothing to do with where it was sent, so among those that
are closed in the same seconds the failed ones are spread over the versions by chance alone, unless one is worse.

A place in the table has a key, which is a hash, and a word:

    epoch << 48 | second << 16 | slow50, slow95 << 8 | closed << 7 | version << 6 | requests so far

The epoch stands for a split and its weight: with another weight all begin anew, as some have come to the other version.
Places of another epoch are free. Where the four places of a set are taken, a further client is not counted: which ones
that are goes by the hash, so it is the same for both versions. Two workers that serve one client at the same instant
may both store what they make of the same word: it is closed a request later then, or in the worst case counted twice.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from app.metrics import layout

__all__ = ["FAILED", "SLOW50", "SLOW95", "Closed", "SplitClients"]

FAILED: Final = 1
SLOW50: Final = 2
SLOW95: Final = 4
"""What may be said of a request, or of a client, as bits of a number; in the order of `layout.SPLIT_COUNTS`."""

FIRST_REQUESTS: Final = 10
OPEN_FOR_S: Final = 30

_SET_WORDS: Final = layout.CLIENT_WAYS * 2
_CLOSED: Final = 1 << 7
_VERSION: Final = 6
_COUNT: Final = (1 << _VERSION) - 1
_SLOW_AT: Final = 8
_SECOND_AT: Final = 16
_EPOCH_AT: Final = 48
_SECONDS: Final = (1 << (_EPOCH_AT - _SECOND_AT)) - 1
_SWEEP: Final = layout.CLIENT_SETS // 8
"""How many sets are looked through at once: the whole table in eight turns."""


class Closed(NamedTuple):
    """A client that counts now: at which version, and what is said of it, bits of `FAILED`, `SLOW50` and `SLOW95`."""

    version: int
    bits: int


class SplitClients:
    """The table, as one worker reads and writes it; `words` are those of the whole metrics file."""

    __slots__ = ("_swept", "_words")

    def __init__(self, words: memoryview[int]) -> None:
        self._words = words
        self._swept = 0

    def note(self, key: int, epoch: int, version: int, bits: int, now_s: int) -> int:
        """Notes a request of a client that has come to its end.

        Args:
            key: a hash of who it is, not 0.
            epoch: 1…65535.
            version: 0 or 1.
            bits: what is said of the request.
            now_s: monotonic.

        Returns the bits with which the client is to be counted now, -1 when it is not.
        """
        words = self._words
        first = layout.CLIENTS_AT + key % layout.CLIENT_SETS * _SET_WORDS
        cells = words[first : first + _SET_WORDS].tolist()
        keys, notes = cells[::2], cells[1::2]
        if key in keys and notes[keys.index(key)] >> _EPOCH_AT == epoch:
            place = keys.index(key)
            word = notes[place]
            if word & _CLOSED or word >> _VERSION & 1 != version:
                return -1
        else:
            free = [place for place, word in enumerate(notes) if word >> _EPOCH_AT != epoch]
            if not free:
                return -1
            place = free[0]
            word = epoch << _EPOCH_AT | (now_s & _SECONDS) << _SECOND_AT | version << _VERSION
            word |= (bits >> 1) << _SLOW_AT  # times are those of the first request
            words[first + 2 * place + 1] = 0  # dying here leaves a place that is free
            words[first + 2 * place] = key
        word += 1
        is_closed = bits & FAILED or word & _COUNT >= FIRST_REQUESTS
        words[first + 2 * place + 1] = word | _CLOSED if is_closed else word
        return bits & FAILED | (word >> _SLOW_AT & 3) << 1 if is_closed else -1

    def sweep(self, epoch: int, now_s: int) -> list[Closed]:
        """Closes those that have been open for long enough, in a part of the table, another one each time.

        For one worker, once a second.
        """
        words, found = self._words, []
        begin = layout.CLIENTS_AT + self._swept * _SET_WORDS
        self._swept = (self._swept + _SWEEP) % layout.CLIENT_SETS
        for at, word in enumerate(words[begin : begin + _SWEEP * _SET_WORDS].tolist()):
            if at & 1 and word >> _EPOCH_AT == epoch and not word & _CLOSED:
                if (now_s - (word >> _SECOND_AT)) & _SECONDS >= OPEN_FOR_S:
                    words[begin + at] = word | _CLOSED
                    found.append(Closed(word >> _VERSION & 1, (word >> _SLOW_AT & 3) << 1))
        return found
