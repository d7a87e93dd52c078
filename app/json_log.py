"""The router's log for programs: one JSON object a line, gunicorn's own lines and exceptions as well."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from logging import Formatter, LogRecord

__all__ = ["JsonFormatter"]


class JsonFormatter(Formatter):
    """Writes `time` (UTC), `level`, `pid`, `logger` and `message`; `name` is the deployment's, left out without one.

    A line about a request has its fields too, under the names that the access log has for them.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = {"name": name} if name else {}

    def format(self, record: LogRecord) -> str:
        """One line, whatever is in the message."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._name,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "request", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
