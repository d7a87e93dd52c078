"""The members that a line of the request log may have: their names, and what each means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["ALWAYS", "EXTRA", "FORMATS"]

FORMATS: Final = ("json", "ecs", "combined", "common")

ALWAYS: Final = (
    *("time", "request_id", "client", "method", "path", "protocol", "version", "release", "status", "cause"),
    *("bytes_in", "bytes_out", "duration_ms", "upstream_ms", "user_agent"),
)
"""Those of a line where nothing else is asked for, in their order."""

EXTRA: Final[Mapping[str, str]] = {
    "host": "the `Host` that was asked for",
    "referer": "the `Referer`, secrets in its query masked",
    "first_byte_ms": "from the request's head received to the first byte of the answer; null when there was none",
    "backend": "the address of the version's backend; null where it has but one",
    "held_ms": "how long it was held while its version was down, or in a pause",
    "queued_ms": "how long it waited for room on a backend",
    "retries": "how often it was sent once more",
    "limit": "the `[[limit]]` that has refused or delayed it, or would have in a dry run; null where none has",
    "login": "the `[[login]]` that was asked, and behind a colon why it refused; null where none was",
    "preview": "whether it visited the standby",
    "worker": "the pid of the worker",
}
"""Those that `access_log_fields` may ask for besides."""
