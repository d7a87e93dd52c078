"""The end of a version's log, and what is added to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["follow", "size", "tail"]

_TAIL_BYTES_PER_LINE = 8192
"""Lines longer than this on average shorten the tail rather than fill the memory."""

_POLL_S = 0.2


def size(path: Path) -> int:
    """The file's length in bytes; 0 when there is no such file."""
    return path.stat().st_size if path.exists() else 0


def tail(path: Path, lines: int, begin: int = 0) -> list[str]:
    """The last lines of a file from byte `begin` on, without line ends; none where none can be read."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(begin, end - lines * _TAIL_BYTES_PER_LINE, 0))
            raw = file.read()
    except OSError:
        return []
    return raw.decode(errors="replace").splitlines()[-lines:] if lines else []


def follow(path: Path, sleep: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """First an empty text, then what is added to the file, without end, though it be replaced or cut."""
    position = size(path)
    inode = path.stat().st_ino if path.exists() else 0
    yield ""
    while True:
        if path.exists():
            seen = path.stat()
            if seen.st_ino != inode or seen.st_size < position:
                position, inode = 0, seen.st_ino
            if seen.st_size > position:
                with path.open("rb") as file:
                    file.seek(position)
                    raw = file.read(1 << 20)
                position += len(raw)
                yield raw.decode(errors="replace")
                continue
        sleep(_POLL_S)
