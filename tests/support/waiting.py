"""Waiting for a condition with a deadline, the only way a test may wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

STEP_S = 0.01


def wait_until(condition: Callable[[], T | None], what: str, deadline_s: float = 10.0) -> T:
    """Return the condition's first true value.

    Raises: AssertionError naming `what` when it does not come true within `deadline_s`.
    """
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {deadline_s:g} s")
        time.sleep(STEP_S)
