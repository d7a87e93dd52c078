"""Standard output and standard error that outlive their reader: a fault is met once, and then nobody is written to.

A terminal is closed, the reader of a pipe ends, the disk under a log is full. Who only prints ends by that; a command
that changes something goes on, and cleans up, as if it were read (`outlive_reader`). What goes to standard error never
fails anybody.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

__all__ = ["cannot_print", "check_reader", "is_fault_of_output", "outlive_reader", "prepare_streams"]


class _Stream(io.FileIO):
    """One of the two descriptors. After its first fault, which is raised if `raises`, what is written goes nowhere."""

    def __init__(self, descriptor: int, *, raises: bool) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.raises = raises
        self.fault: OSError | None = None

    def write(self, data: Any) -> int:
        """Write some bytes, at least one; gives how many."""
        if self.fault is None:
            try:
                while (written := super().write(data)) is None:
                    self._wait()
                return written
            except OSError as error:
                self.fault = error
                if self.raises:
                    raise
                if self.fileno() == 1 and error.errno != errno.EPIPE:
                    print(f"⚠️  {cannot_print(error)}; the command goes on", file=sys.stderr)
        return len(data)

    def _wait(self) -> None:
        """Until a terminal or pipe that somebody else has made non-blocking takes more."""
        import select  # nearly nobody needs it

        select.select([], [self], [])


def prepare_streams() -> None:
    """Put our streams in place of Python's; a closed one (`>&-`) gets somewhere to go.

    An encoding without our marks gets "?" for them.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # The number must be taken, too: the next file to be opened would get it, and a child's output.
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        elif stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue  # a program that has replaced it, such as a test runner, reads it by itself
        encoding = getattr(stream, "encoding", "utf-8")
        ours = io.BufferedWriter(_Stream(number, raises=number == 1))
        by_lines, at_once = ours.isatty() or number == 2, getattr(stream, "write_through", False)
        setattr(sys, name, io.TextIOWrapper(ours, encoding, "replace", None, by_lines, at_once))


def outlive_reader() -> None:
    """From now on the command goes on whatever becomes of its output."""
    if (stream := _stdout()) is not None:
        stream.raises = False


def check_reader() -> None:
    """End of that: what comes now is what the command is for. Raises the OSError that there has been."""
    if (stream := _stdout()) is not None:
        stream.raises = True
        if stream.fault is not None:
            raise stream.fault


def is_fault_of_output(error: OSError) -> bool:
    """Whether it comes from printing; other files have errors of their own."""
    stream = _stdout()
    return stream is not None and stream.fault is error


def cannot_print(error: OSError) -> str:
    """What is said instead of the output."""
    return f"the output cannot be written: {error.strerror}"


def _stdout() -> _Stream | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Stream) else None
