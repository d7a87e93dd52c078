"""How a backend is, from what the slots say of it."""

from __future__ import annotations

import pytest

from app.address import Address
from app.metrics import layout
from app.metrics.backend_rows import TIMES_BITS, BackendRow, Source, backend_rows, who

ADDRESSES = tuple(map(Address.parse, ("10.0.0.7:8000", "unix:/run/shop.sock")))
FIRST, SECOND = map(str, ADDRESSES)
NOW_US = 50_000_000
SOON = (NOW_US + 3_000_000) << TIMES_BITS | 2


class Slots:
    """Two slots, in which the backends stand in another order, as they do while a list changes."""

    def __init__(self) -> None:
        self.words = memoryview(bytearray(layout.file_bytes(2))).cast("Q")
        self._order = {0: (FIRST, SECOND), 1: ("10.0.0.1:1", SECOND, FIRST)}
        for slot, order in self._order.items():
            for number, address in enumerate(order):
                self.words[layout.backend_totals_at(slot, 1, "who") + number] = who(address)

    def put(self, slot: int, address: str, **values: int) -> None:
        number = self._order[slot].index(address)
        for column, value in values.items():
            at = layout.backend_totals_at if column in layout.BACKEND_TOTALS else layout.backends_at
            self.words[at(slot, 1, column) + number] = value

    def rows(self, *live: int, drained: tuple[str, ...] = ()) -> tuple[BackendRow, ...]:
        sources = [Source(slot, slot in live, slot in live) for slot in (0, 1)]
        return backend_rows(self.words, sources, 1, ADDRESSES, NOW_US, drained)


def test_who_is_live_has_requests_in_flight_and_everybodys_are_counted() -> None:
    slots = Slots()
    slots.put(0, FIRST, in_flight=2, requests=10, failures=1)
    slots.put(1, FIRST, in_flight=3, requests=20, failures=4)
    first, second = slots.rows(0)
    assert first == BackendRow(FIRST, "ok", "", in_flight=2, requests=30, failures=5, ejected_for_s=0.0)
    assert second == BackendRow(SECOND, "ok", "", in_flight=0, requests=0, failures=0, ejected_for_s=0.0)
    assert [row.in_flight for row in slots.rows(0, 1)] == [5, 0]


@pytest.mark.parametrize(
    ("said", "drained", "state", "left_s"),
    [
        ({"out": NOW_US << TIMES_BITS}, (), "ok", 0.0),
        ({"out": SOON}, (), "ejected", 3.0),
        ({"out": SOON, "unwell": 1}, (), "unhealthy", 0.0),
        ({"out": SOON, "unwell": 1}, (SECOND,), "drained", 0.0),
    ],
    ids=["its time is over", "left alone", "fails its health checks", "taken out by hand"],
)
def test_state_is_the_one_that_keeps_requests_from_it(
    said: dict[str, int], drained: tuple[str, ...], state: str, left_s: float
) -> None:
    slots = Slots()
    slots.put(1, SECOND, **said)
    first, second = slots.rows(1, drained=drained)
    assert (first.state, second.state, second.ejected_for_s) == ("ok", state, left_s)
    assert bool(second.reason) is (state != "ok")
    assert second.is_out is (state in ("ejected", "unhealthy"))
    assert slots.rows(0)[1].state == "ok", "nobody who is live says so"


def test_each_address_has_a_word_of_its_own() -> None:
    assert who(FIRST) != who(SECOND)
    assert 0 < who(FIRST) <= layout.LARGEST
