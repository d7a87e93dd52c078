"""Something that has to be done for one request before a filter can judge it, and that takes a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.transport.endpoint import Endpoint

__all__ = ["Errand"]


class Errand:
    """A waiting room for one request, whose own greenlet does what it waits for.

    `run` is given the client's connection, None for one of a stock gunicorn worker; it limits its time itself.
    """

    __slots__ = ("_run",)

    def __init__(self, run: Callable[[Any], object]) -> None:
        self._run = run

    def check_space(self) -> None:
        """There is room: nobody waits for anybody else."""

    def wait(self, client: Endpoint | None, arrived_us: int, seconds: float | None = None) -> None:
        """Does it. Raises what `run` raises, such as ClientDisconnected."""
        self._run(client)
