"""How answers look: ruled headings, marks, figures for people, progress; colour only on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from app import units

__all__ = [
    "Progress",
    "bytes_text",
    "bold",
    "clock_text",
    "count_text",
    "dim",
    "duration_text",
    "heading",
    "is_plain",
    "mark",
    "moment_text",
    "ms_text",
    "table",
    "width",
]

_RULE = "=" * 60

_ENDLESS = 10_000


def is_plain(stream: TextIO | None = None) -> bool:
    """Whether colour and cursor control are to be left out: no terminal, `NO_COLOR`, or a dumb terminal."""
    stream = sys.stdout if stream is None else stream
    # https://no-color.org: present and not empty, whatever its value
    return not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def bold(text: str) -> str:
    """The text in bold where the terminal can."""
    return text if is_plain() else f"\x1b[1m{text}\x1b[0m"


def dim(text: str) -> str:
    """The text in the background where the terminal can."""
    return text if is_plain() else f"\x1b[2m{text}\x1b[0m"


def width() -> int:
    """Columns of the terminal; as many as anybody needs where none is there to be kept to."""
    return os.get_terminal_size(sys.stdout.fileno()).columns or 80 if sys.stdout.isatty() else _ENDLESS


def heading(title: str, name: str = "") -> str:
    """A ruled heading and the empty line below it; `name` is the deployment's, where it has one."""
    return f"{_RULE}\n{bold(f'{title} · {name}' if name else title)}\n{_RULE}\n"


def mark(is_good: bool) -> str:
    """✅ or ❌."""
    return "✅" if is_good else "❌"


def count_text(number: float) -> str:
    """A count with its thousands parted: 1,024."""
    return f"{number:,.0f}"


def ms_text(milliseconds: float | None) -> str:
    """A duration to three figures in the unit that suits it: 0.42 ms, 45.2 ms, 1.34 s; – for none."""
    return units.plain(units.ms_text(milliseconds))


def duration_text(seconds: float) -> str:
    """A stretch of time in its two largest units: 8 s, 1 min 49 s, 3 h 5 min, 12 d 4 h."""
    return units.plain(units.duration_text(seconds))


def clock_text(at: float) -> str:
    """The time of day of a moment in wall time: 18:05:09."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def moment_text(at: float) -> str:
    """A moment in wall time, with its day where that is not today: 18:05:09, or 2026-11-24 18:05:09."""
    day = time.strftime("%Y-%m-%d ", time.localtime(at))
    return ("" if day == time.strftime("%Y-%m-%d ") else day) + clock_text(at)


def bytes_text(number: float) -> str:
    """A size in powers of 1024: 512 B, 5.00 MiB."""
    return units.plain(units.bytes_text(number))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, with the columns' names in the first."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    first, *others = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [columns, *rows]
    )
    return [bold(first), *others]


class Progress:
    """One line that says what is waited for: redrawn on a terminal, printed on each change elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._is_plain = is_plain(self._stream)
        self._last = ""

    def say(self, text: str, detail: str = "") -> None:
        """Show the text, and where lines can be redrawn also a detail that changes all the time."""
        if self._is_plain:
            if text != self._last:
                print(f"⏳ {text}", file=self._stream, flush=True)
        else:
            print(f"\r\x1b[K⏳ {text}{detail}", end="", file=self._stream, flush=True)
        self._last = text

    def clear(self) -> None:
        """Take the line away again where it can be."""
        if self._last and not self._is_plain:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
        self._last = ""
