"""What happened to a deployment without a command: `events.jsonl`, one JSON object a line, beside the history.

Lines are only appended, each in one write, by the router's master and by its leading worker. A file that has grown
large is put aside as `events.jsonl.1`, so that a year of them is no more than two files. An unreadable line is skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Event", "EventFile"]

_LARGE_BYTES: Final = 1 << 20
_FILE_MODE: Final = 0o644


class Event(NamedTuple):
    """One thing that happened at wall time `at`: its word, and a sentence for people.

    `severity` is "ok", "warns" or "no traffic"; `version` and `release` are those that were active.
    """

    at: float
    event: str
    text: str
    severity: str = "ok"
    version: str | None = None
    release: str | None = None


class EventFile:
    """The events of one deployment, and the file where they are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._old = path.with_name(path.name + ".1")

    def append(self, event: Event) -> str:
        """Adds one; returns why it could not be written, or "". An event that is lost is no reason to stop."""
        line = json.dumps({**event._asdict(), "at": round(event.at, 3)}).encode() + b"\n"
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                os.write(descriptor, line)
                if os.fstat(descriptor).st_size > _LARGE_BYTES:
                    os.replace(self.path, self._old)
            finally:
                os.close(descriptor)
        except OSError as error:
            return f"{self.path} cannot be written: {error.strerror}"
        return ""

    def read(self, since: float = 0.0, last_bytes: int = 0) -> list[Event]:
        """Those from wall time `since` on, oldest first; with `last_bytes`, out of the ends of the files alone."""
        lines = (line for path in (self._old, self.path) for line in _lines(path, last_bytes))
        return [event for line in lines if (event := _parsed(line)) is not None and event.at >= since]

    def last(self) -> Event | None:
        """The latest one."""
        return next(iter(self.read()[-1:]), None)


def _lines(path: Path, last_bytes: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            if last_bytes:
                file.seek(-min(last_bytes, os.fstat(file.fileno()).st_size), os.SEEK_END)
            yield from file.read().splitlines()
    except OSError:
        return


def _parsed(line: bytes) -> Event | None:
    try:
        value = json.loads(line)
        event = Event(**{name: value[name] for name in Event._fields if name in value})
        return event if isinstance(event.at, int | float) and isinstance(event.text, str) else None
    except (ValueError, TypeError, KeyError):
        return None
