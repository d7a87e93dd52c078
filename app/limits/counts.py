"""What each limit has done, and to whom: counted by each worker in its own slot, added up by who reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b

from app.limits import limits_map as at
from app.limits.limit_figures import LimitFigures, RefusedKey
from app.limits.limits_map import COUNTS, H
from app.limits.rate import MOST_LIMITS

__all__ = ["LimitCounts", "figures_of", "refused_keys"]


def _who(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=at.WORD).digest(), "little") or 1


class LimitCounts:
    """One worker's counts, by the number of the limit in `names`.

    What was counted of a limit stays its own wherever it stood in the settings before; that of one which is no more
    gives way when there is no other room.
    """

    __slots__ = ("_refused", "_rows", "_who", "_words")

    def __init__(self, words: memoryview[int], slot: int, names: Sequence[str]) -> None:
        self._words = words
        first = at.slot_at(slot)
        rows = [first + at.REFUSED_AT + row * at.REFUSED_WORDS for row in range(at.REFUSED_ROWS)]
        rows.sort(key=lambda row: words[row + 3])
        # The rows by their key's hash, which is another one for each limit; the one refused last comes last.
        self._refused = {words[row + 1] if words[row] else -row: row for row in rows}
        self._who = [_who(name) for name in names]
        places = [first + row * at.COUNT_WORDS for row in range(MOST_LIMITS)]
        known = {words[place]: place for place in places if words[place] in self._who}
        free = [place for place in places if words[place] not in known]
        free.sort(key=lambda place: words[place] != 0)
        self._rows = [known[who] if who in known else self._begun(free.pop(0), who) for who in self._who]

    def _begun(self, place: int, who: int) -> int:
        for word in range(place, place + at.COUNT_WORDS):
            self._words[word] = 0
        self._words[place] = who
        return place

    def count(self, limit: int, column: int) -> None:
        """One more; `column` is an index into `COUNTS`."""
        self._words[self._rows[limit] + column] += 1

    def note_again(self, key: int, now_ns: int) -> bool:
        """Notes that a key is refused once more; False when it is not on the list of those that were refused last."""
        row = self._refused.pop(key, 0)
        if not row:
            return False
        self._refused[key] = row
        self._words[row + 2] += 1
        self._words[row + 3] = now_ns
        return True

    def note_refused(self, limit: int, key: int, text: bytes, now_ns: int) -> None:
        """Puts a key on that list, in the place of the one whose last refusal is longest ago."""
        words, who = self._words, self._who[limit]
        oldest = self._refused[key] = self._refused.pop(next(iter(self._refused)))
        text = text[: at.REFUSED_TEXT_BYTES]
        words[oldest] = 0  # meanwhile it is nobody's
        words[oldest + 1], words[oldest + 2], words[oldest + 3], words[oldest + 4] = key, 1, now_ns, len(text)
        place = oldest + at.REFUSED_TEXT
        words[place : place + at.REFUSED_WORDS - at.REFUSED_TEXT] = memoryview(
            text.ljust(at.REFUSED_TEXT_BYTES, b"\0")
        ).cast("Q")
        words[oldest] = who


def figures_of(words: memoryview[int], names: Collection[str]) -> list[LimitFigures]:
    """What all workers have counted of these limits, those that are gone included."""
    sums = {_who(name): [0] * (len(COUNTS) - 1) for name in names}
    for slot in range(words[H["used_slots"]]):
        first = at.slot_at(slot)
        for place in range(first, first + at.REFUSED_AT, at.COUNT_WORDS):
            row = words[place : place + len(COUNTS)].tolist()
            if row[0] in sums:
                sums[row[0]] = [one + more for one, more in zip(sums[row[0]], row[1:], strict=True)]
    return [LimitFigures(name, *sums[_who(name)]) for name in names]


def refused_keys(words: memoryview[int], names: Iterable[str], now_ns: int) -> list[RefusedKey]:
    """The keys that these limits refused last in any worker, each once, the one refused last first."""
    limits = {_who(name): name for name in names}
    found: dict[tuple[str, int], RefusedKey] = {}
    for slot in range(words[H["used_slots"]]):
        first = at.slot_at(slot) + at.REFUSED_AT
        for row in range(first, first + at.REFUSED_ROWS * at.REFUSED_WORDS, at.REFUSED_WORDS):
            who, key, times, last_ns, size = words[row : row + at.REFUSED_TEXT].tolist()
            if who not in limits:
                continue
            text = bytes(words[row + at.REFUSED_TEXT : row + at.REFUSED_WORDS].cast("B")[:size]).decode("latin-1")
            one = RefusedKey(limits[who], text, times, (now_ns - last_ns) / 1e9)
            known = found.get((one.limit, key), one._replace(times=0))
            found[one.limit, key] = one._replace(times=times + known.times, ago_s=min(one.ago_s, known.ago_s))
    return sorted(found.values(), key=lambda one: one.ago_s)
