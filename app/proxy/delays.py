"""What has kept a request from going straight through."""

from __future__ import annotations

__all__ = ["Delays"]


class Delays:
    """The waits of one request, in µs, and how often it was sent once more.

    Attributes:
        held_us: in a pause, or while its version was down.
        queued_us: for room on a backend.
        retries: attempts after the first one.
    """

    __slots__ = ("held_us", "queued_us", "retries")

    def __init__(self) -> None:
        self.held_us = 0
        self.queued_us = 0
        self.retries = 0
