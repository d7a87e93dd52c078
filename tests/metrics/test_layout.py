"""The map of the file: nothing overlaps, everything fits, and a change of meaning changes the checksum."""

from __future__ import annotations

from itertools import pairwise

import pytest

from app.address import MAX_BACKENDS
from app.errors import CAUSES
from app.metrics import layout


def test_header_and_slot_head_fit_their_room() -> None:
    assert len(layout.HEADER) <= layout.PAGE_WORDS
    assert len(layout.SLOT) <= layout.SLOT_HEAD_WORDS
    assert len(CAUSES) <= layout.CAUSE_ROOM


def test_parts_of_the_file_follow_one_another() -> None:
    parts = [
        (0, layout.PAGE_WORDS),
        (layout.SECONDS_AT, layout.SECOND_CELLS * layout.CELL_WORDS),
        (layout.TENS_AT, layout.TEN_CELLS * layout.CELL_WORDS),
        (layout.tally_at(0), layout.TALLY_WORDS),
        (layout.tally_at(1), layout.TALLY_WORDS),
        (layout.PROBES_AT, 2 * layout.PROBES * layout.PROBE_WORDS),
        (layout.CLIENTS_AT, layout.CLIENT_SETS * layout.CLIENT_WAYS * 2),
        (layout.slot_at(0), layout.SLOT_WORDS),
        (layout.slot_at(1), layout.SLOT_WORDS),
    ]
    assert all(at + words <= following for (at, words), (following, _) in pairwise(parts))
    assert layout.file_bytes(2) == (layout.slot_at(1) + layout.SLOT_WORDS) * layout.WORD


def test_parts_of_a_slot_follow_one_another() -> None:
    last_version = layout.version_at(0, len(layout.VERSION_LABELS) - 1)
    assert last_version + layout.VERSION_WORDS == layout.slot_at(0) + layout.ROWS_AT
    assert layout.ROWS_AT + layout.ROWS * layout.ROW_WORDS <= layout.CUTS_AT
    assert layout.FAILURES_AT + layout.ENDED * layout.ENDED_WORDS <= layout.BACKEND_TOTALS_AT
    assert layout.backend_totals_at(0, 1, "failures") + MAX_BACKENDS <= layout.slot_at(0) + layout.LOGINS_AT
    assert layout.LOGINS_AT + layout.LOGIN_ROOM <= layout.SPLIT_AT
    assert layout.split_at(0, 1) + layout.SPLIT_VERSION_WORDS <= layout.backends_at(0, 0, "in_flight")
    assert layout.BACKENDS_AT + layout.BACKENDS_WORDS <= layout.QUEUES_AT
    assert layout.QUEUES_AT + 2 * layout.QUEUE_WORDS <= layout.SEEN_AT
    assert layout.SEEN_AT + 2 <= layout.SLOT_WORDS


def test_slots_begin_on_a_page_of_their_own() -> None:
    assert [layout.slot_at(slot) % layout.PAGE_WORDS for slot in range(5)] == [0] * 5


def test_probe_rows_do_not_overlap() -> None:
    rows = [layout.probe_at(version, row) for version in range(2) for row in range(layout.PROBES)]
    assert {later - earlier for earlier, later in pairwise(rows)} == {layout.PROBE_WORDS}


@pytest.mark.parametrize(("workers", "slots"), [(0, 16), (4, 16), (5, 20)])
def test_slots_fit_four_sets_of_workers(workers: int, slots: int) -> None:
    assert layout.slots_for(workers) == slots


def test_checksum_moves_with_names_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = layout.checksum()
    monkeypatch.setattr(layout, "CAUSES", (*CAUSES, "new_cause"))
    with_new_cause = layout.checksum()
    monkeypatch.setattr(layout, "ROWS", layout.ROWS * 2)
    assert len({before, with_new_cause, layout.checksum()}) == 3


def test_a_ring_uses_a_cell_again_after_one_turn() -> None:
    ring = layout.SECONDS
    assert ring.cell_at(0) == layout.SECONDS_AT
    assert ring.cell_at(599) == ring.cell_at(0) + 599 * layout.CELL_WORDS
    assert ring.cell_at(600) == ring.cell_at(0)
