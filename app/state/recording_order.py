"""The file by which a command asks the workers to record exchanges: what, where to, and until when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from app.state.store import replace_file

__all__ = ["NAME", "RecordingOrder", "read_order", "write_order"]

NAME = "recording.json"
"""Beside the state file."""

_MODE = 0o600


@dataclass(frozen=True, slots=True)
class RecordingOrder:
    """What is asked for.

    Attributes:
        paths: exact ones, and prefixes that end with `*`.
        until: wall clock, seconds since the epoch.
        max_body: bytes of each body that are kept.
        max_bytes: of the whole file.
        file: where exchanges are appended, an absolute path; it is there already.
    """

    paths: tuple[str, ...]
    until: float
    max_body: int
    max_bytes: int
    file: str


def write_order(path: Path, order: RecordingOrder) -> None:
    """Puts the order where workers look for it. Raises OSError."""
    replace_file(path, json.dumps(asdict(order)).encode(), _MODE)


def read_order(path: Path) -> RecordingOrder | None:
    """The order that is there; None for none, and for what is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return _order_of(found) if isinstance(found, Mapping) else None


def _order_of(found: Mapping[str, object]) -> RecordingOrder | None:
    try:
        order = RecordingOrder(**found)  # type: ignore[arg-type]  # looked at below
        return RecordingOrder(
            tuple(map(str, order.paths)),
            float(order.until),
            int(order.max_body),
            int(order.max_bytes),
            str(order.file),
        )
    except (TypeError, ValueError):
        return None
