"""What a master and its worker tell each other beside signals: bits in the mode of the worker's heartbeat file.

Both hold that file open, and it has no name. Neither its content nor its size will do: writing changes the
file's time, and that is the heartbeat, so a worker that spoke would look like one that has never served.

Nothing here imports requests or gevent: it lives in the master, too.
"""

from __future__ import annotations

import os
import stat
from enum import IntEnum
from typing import Any

__all__ = ["CUTTING_S", "WorkerFlag", "has_flag", "raise_flag"]

CUTTING_S = 2
"""What a worker may take to answer or reset what is left once `graceful_timeout` is over; no master kills it sooner."""


class WorkerFlag(IntEnum):
    """What can be said."""

    ASKS_TO_GO = stat.S_IXUSR
    """By the worker: it wants to be replaced."""
    IS_LAST = stat.S_IXGRP
    """By the master, before it tells the worker to end: the whole router ends, nobody serves in its place."""


def raise_flag(file: Any, flag: WorkerFlag) -> None:
    """Says it. `file` is the worker's `tmp`."""
    descriptor = file.fileno()
    os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | flag)


def has_flag(file: Any, flag: WorkerFlag) -> bool:
    """Whether it was said."""
    try:
        return bool(os.fstat(file.fileno()).st_mode & flag)
    except (OSError, ValueError):  # closed: the worker is dead
        return False
