"""The access log: which requests get a line, and in which format."""

from __future__ import annotations

from random import random

from app.errors import FAILURES
from app.proxy.request_log.ecs_lines import ecs_layout, ecs_parts
from app.proxy.request_log.header_fields import HeaderFields
from app.proxy.request_log.json_lines import JsonLines, Part, plain_layout
from app.proxy.request_log.line_file import LineFile, Losses
from app.proxy.request_log.logged_request import LoggedRequest
from app.proxy.request_log.text_lines import TextLines
from app.proxy.transaction import Transaction
from app.redaction import Redaction
from app.settings.tables.log_settings import LogConfig

__all__ = ["AccessLog"]

_ANY_LENGTH = 1 << 30
_IN_A_PIPE = 500
"""Characters of a text, so that a line with a long path and a long User-Agent fits into one write to a pipe."""


class AccessLog:
    """The log of one worker.

    Args:
        path: a file, or "-" for standard output.
        config: what lines there are, and how they are written.
        losses: where it is noted what is lost.
        name: the deployment's, "" for none.

    Raises ConfigError when the file cannot be opened.
    """

    def __init__(
        self,
        path: str,
        config: LogConfig,
        losses: Losses,
        name: str = "",
    ) -> None:
        self._file = LineFile(path, losses)
        self._line = _lines(config, name, _IN_A_PIPE if self._file.is_narrow else _ANY_LENGTH)
        self._sample = config.access_log_sample
        self._slow_us = int(config.access_log_slow * 1e6)
        self._has_errors = config.access_log_errors

    def write(self, transaction: Transaction, status: int, cause: str, bytes_in: int, now_us: int) -> None:
        """Writes the line of one request, within a second."""
        if self._sample < 1 and not self._is_wanted(transaction, status, cause, now_us):
            return
        self._file.add(self._line(LoggedRequest(transaction, status, cause, bytes_in, now_us)))

    def _is_wanted(self, transaction: Transaction, status: int, cause: str, now_us: int) -> bool:
        if self._has_errors and (status >= 500 or cause in FAILURES):
            return True
        if self._slow_us and now_us - transaction.request.started_us >= self._slow_us:
            return True
        return random() < self._sample

    def flush(self) -> None:
        """Writes what there is; once a second."""
        self._file.flush()

    def reopen(self) -> None:
        """Goes on in a new file, after logrotate has renamed the old one; raises ConfigError and keeps the old one."""
        self._file.reopen()

    def finish(self, limit_s: float) -> None:
        """Leaves nothing unwritten; waits up to so many seconds for who reads it."""
        self._file.finish(limit_s)


def _lines(config: LogConfig, name: str, longest: int) -> Part:
    """What writes the lines of one request each."""
    redaction = Redaction(config.access_log_redact)
    form = config.access_log_format
    if form in ("combined", "common"):
        return TextLines(redaction, form == "combined", longest)
    asked = (
        ("request_headers", config.access_log_headers, False),
        ("response_headers", config.access_log_response_headers, True),
    )
    headers: dict[str, Part] = {
        member: HeaderFields(names, redaction, longest, of_response) for member, names, of_response in asked if names
    }
    members = {member: member for member in headers}
    if form == "ecs":
        return JsonLines(ecs_layout(name, members), redaction, longest, {**ecs_parts(redaction, longest), **headers})
    return JsonLines({**plain_layout(config.access_log_fields), **members}, redaction, longest, headers)
