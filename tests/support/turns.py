"""Turns in a room: with others, or alone; for processes that know nothing of each other but two files."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["turn"]


@contextmanager
def turn(room: Path, door: Path, alone: bool) -> Iterator[None]:
    """Holds the room for the length of the block; what is in the two files does not matter.

    Who wants to be alone keeps the door shut while the others leave, or there would always be somebody in the room.
    """
    mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    with room.open() as inside:
        with door.open() as at_the_door:
            fcntl.flock(at_the_door, mode)
            fcntl.flock(inside, mode)
            fcntl.flock(at_the_door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(inside, fcntl.LOCK_UN)  # closing is not enough: a forked child may still have it open
