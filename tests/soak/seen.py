"""What a client saw of one request, and the sheet of paper on which it notes that."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Seen", "Sheet"]


@dataclass(slots=True)
class Seen:
    """One request as its client saw it.

    Attributes:
        id: the `X-Request-ID` that it was sent with, and a POST's key.
        kind: "get", "post", "upload", "stream", "events" or "websocket".
        start, heard, end: seconds of the machine's monotonic clock; `heard` is when the answer began, 0 without one.
        version: which version answered, as it said itself.
        status: of the answer; 0 without one.
        cause: the router's `X-Router-Cause`.
        error: what was wrong; "" when all was as it should be.
        end_code: how a WebSocket was closed.
        idle_s: how long the kept connection had been idle before; 0 when there was none.
        is_stale: a used connection broke before a byte of the answer came.
        found_closed: the connection used before was found closed, unannounced, so this is a new one.
        instance: which of the version's processes answered, as it said itself; 0 when none did.
    """

    id: str
    kind: str
    start: float
    end: float = 0.0
    heard: float = 0.0
    version: str = ""
    status: int = 0
    cause: str = ""
    error: str = ""
    end_code: int = 0
    idle_s: float = 0.0
    is_stale: bool = False
    found_closed: bool = False
    instance: int = 0


class Sheet:
    """One client process's records, a line of JSON each; used by all of its threads."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def put(self, seen: Seen) -> None:
        """Add a record in one write."""
        os.write(self._descriptor, json.dumps(asdict(seen)).encode() + b"\n")
