"""Turns in a room that tests share, or have to themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.turns import turn

A_MOMENT_S = 0.1
"""Long enough for one who does not wait to come in."""


class Guest:
    """Somebody who is in the room, once it is their turn, until they are told to leave."""

    def __init__(self, folder: Path, alone: bool) -> None:
        self.is_in = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._stay, args=(folder / "room", folder / "door", alone))
        self._thread.start()

    def _stay(self, room: Path, door: Path, alone: bool) -> None:
        with turn(room, door, alone):
            self.is_in.set()
            self._leave.wait(20)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(20)


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Callable[..., Guest]]:
    for name in ("room", "door"):
        (tmp_path / name).touch()
    guests: list[Guest] = []

    def come(alone: bool = False) -> Guest:
        guests.append(Guest(tmp_path, alone))
        return guests[-1]

    yield come
    for one in guests:
        one.leave()


def test_guests_share_the_room(guest: Callable[..., Guest]) -> None:
    assert guest().is_in.wait(10)
    assert guest().is_in.wait(10)


def test_who_is_alone_waits_for_the_others_and_they_for_them(guest: Callable[..., Guest]) -> None:
    first = guest()
    assert first.is_in.wait(10)
    loner = guest(alone=True)
    assert not loner.is_in.wait(A_MOMENT_S)
    late = guest()
    assert not late.is_in.wait(A_MOMENT_S), "or who wants to be alone would never be"
    first.leave()
    assert loner.is_in.wait(10)
    assert not late.is_in.wait(A_MOMENT_S)
    loner.leave()
    assert late.is_in.wait(10)


def test_room_is_free_after_a_failure(tmp_path: Path, guest: Callable[..., Guest]) -> None:
    with pytest.raises(ZeroDivisionError), turn(tmp_path / "room", tmp_path / "door", True):
        _ = 1 / 0
    assert guest(alone=True).is_in.wait(10)
