"""What became of the requests that were shared out between two versions, over all workers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from app.canary.outcomes import Outcomes
from app.metrics import layout
from app.state.model import VERSIONS

__all__ = ["SplitArm", "split_arms"]


class SplitArm(NamedTuple):
    """One version in a split, since the metrics file was made; `Outcomes` are in the order of `layout.SPLIT_COUNTS`.

    Attributes:
        requests: those that were shared out.
        clients: the same of clients, each counted once (`app.metrics.split_clients`), where each stays at its version.
        seen: of at least so many different clients it has had requests, up to `split_words.MOST_SEEN`.
    """

    requests: Outcomes
    clients: Outcomes
    seen: int


def split_arms(words: memoryview[int], slots: Iterable[int], live: Iterable[int]) -> tuple[SplitArm, SplitArm]:
    """Both versions, blue first: counted in these slots, those of the dead included; seen by the live ones."""
    slots, live = list(slots), list(live)
    blue, green = (_arm(words, slots, live, version) for version in range(len(VERSIONS)))
    return blue, green


def _arm(words: memoryview[int], slots: list[int], live: list[int], version: int) -> SplitArm:
    sums = [0] * layout.SPLIT_VERSION_WORDS
    for slot in slots:
        at = layout.split_at(slot, version)
        found = [words[word] for word in reversed(range(at, at + layout.SPLIT_VERSION_WORDS))]
        sums = [one + more for one, more in zip(sums, reversed(found), strict=True)]
    each = len(layout.SPLIT_COUNTS)
    seen = max((words[layout.slot_at(slot) + layout.SEEN_AT + version] for slot in live), default=0)
    return SplitArm(Outcomes(*sums[:each]), Outcomes(*sums[each:]), seen)
