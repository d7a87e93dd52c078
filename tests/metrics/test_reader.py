"""Reading while a slot changes hands: the reader looks again, and not for ever."""

from __future__ import annotations

import pytest

from app.metrics import layout
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from tests.metrics.conftest import Answer
from tests.support.fake_clock import FakeClock


class ChangingHands:
    """The words of the file, with a slot whose generation moves at each of the first so many looks at it."""

    def __init__(self, words: memoryview[int], moves: int) -> None:
        self._words, self.moves, self.looks = words, moves, 0

    def __getitem__(self, index: int | slice) -> int | memoryview[int]:
        if index == layout.slot_at(0):
            self.looks += 1
            return min(self.looks, self.moves)
        return self._words[index]


@pytest.mark.parametrize("moves", [1, 5, 1 << 60])
def test_reader_looks_again_until_a_slot_holds_still_but_not_for_ever(
    metrics: SharedMetrics,
    writer: SlotWriter,
    answer: Answer,
    clock: FakeClock,
    moves: int,
) -> None:
    answer()
    writer.start(0, b"GET", b"/", clock())
    words = ChangingHands(metrics._words, moves)
    metrics._reader._words = words  # type: ignore[assignment]  # stands in for a memoryview
    assert metrics.in_flight("blue") == 1
    snapshot = metrics.snapshot()
    assert (snapshot.overall.requests, snapshot.overall.in_flight) == (1, 1)
    assert min(moves, 10) < words.looks < 2000
