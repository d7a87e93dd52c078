"""Ctrl-C, `kill` and a terminal that goes away as one orderly interruption, which comes between the steps.

The first of these signals raises KeyboardInterrupt, and the others that usually follow it change nothing any more: what
is begun is undone in peace. While the thread holds them back, the kernel keeps them.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["be_interruptible", "held_back", "let_through"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def be_interruptible() -> None:
    """Be interrupted in this way from now on; what `nohup` or a background shell ignores for us stays ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """A block that no signal interrupts; one that has come meanwhile does so at its end."""
    yield from _masked(signal.SIG_BLOCK)


@contextmanager
def let_through() -> Iterator[None]:
    """Within such a block, one that may be interrupted: it waits, or starts processes, which inherit the mask."""
    yield from _masked(signal.SIG_UNBLOCK)


def _masked(how: int) -> Iterator[None]:
    before = signal.pthread_sigmask(how, ())
    try:
        signal.pthread_sigmask(how, _SIGNALS)  # raises by itself what has come before
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
