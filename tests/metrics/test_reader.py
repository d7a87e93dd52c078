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


def test_state_is_known_when_every_worker_that_is_well_acts_by_it(
    metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock
) -> None:
    other = metrics.claim_slot(1)
    script = metrics.claim_slot(2, "script")
    writer.note_state(7)
    assert not metrics.is_state_known(7)
    other.note_state(7)
    assert metrics.is_state_known(7)
    writer.note_state(8)
    assert not metrics.is_state_known(8)
    clock.advance(3)
    writer.beat(clock())
    assert metrics.is_state_known(8), "the other one hangs"
    other.beat(clock())
    assert not metrics.is_state_known(8)
    other.close()
    assert metrics.is_state_known(8), "the other one has ended"
    writer.note_state(1 << 70)
    assert metrics.is_state_known(1 << 70), "whatever a person has written into the file"
    script.close()


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
