"""Moving the bytes of a long body from one socket to another inside the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.transport.deadlines import Deadlines
from app.transport.endpoint import Endpoint
from app.transport.pipe import Pipe

__all__ = ["splice_body"]


def splice_body(
    source: Endpoint, target: Endpoint, length: int, wait: Callable[[], None], sending: Deadlines
) -> Iterator[int]:
    """Moves `length` bytes from `source` to `target` through a pipe; they never enter this process.

    Yields after each step how many bytes the target took in it.

    Args:
        wait: waits until `source` may have bytes; may return early.
        sending: limit of a wait for the target to take some.

    Raises SourceEnded, OSError when the target is gone, Expired, and what `wait` raises.
    `source.buffered` must be empty.
    """
    pipe = Pipe.take()
    try:
        while length:
            if not pipe.fill(source.fileno(), length):
                wait()
                continue
            length -= pipe.held
            while pipe.held:
                taken = pipe.drain(target.fileno())
                if taken:
                    yield taken
                else:
                    target.wait_writable(sending)
    finally:
        pipe.give_back()
