"""The access log: one JSON object per request and line."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime

from app.operator_errors import ConfigError
from app.proxy.transaction import Transaction

__all__ = ["AccessLog"]


class AccessLog:
    """Appends to a file, or to standard output for `-`.

    Each line is one write to a descriptor in append mode, so that the workers' lines do not mix.
    """

    def __init__(self, path: str) -> None:
        """Raises ConfigError when the file cannot be opened."""
        self._path = path
        self._descriptor = sys.stdout.fileno() if path == "-" else self._open()

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise ConfigError(f"access_log = {self._path}: {error.strerror}") from error

    def reopen(self) -> None:
        """Opens the file anew, after logrotate has renamed it (USR1); raises ConfigError and keeps the old one."""
        if self._path != "-":
            # In this order: a closed descriptor's number may be a client's connection a moment later.
            opened = self._open()
            os.close(self._descriptor)
            self._descriptor = opened

    def write(self, transaction: Transaction, status: int, cause: str, bytes_in: int, now_us: int) -> None:
        """Writes the line of one request. A full disk loses lines, never requests."""
        request = transaction.request
        head = request.head
        agent = next((value for name, value in head.fields if name.lower() == b"user-agent"), b"")
        upstream_us = transaction.head_us - transaction.sent_us if transaction.head_us else None
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": transaction.request_id.decode("latin-1"),
            "client": request.client_address,
            "method": head.method.decode("latin-1"),
            "path": head.target.decode("latin-1"),
            "protocol": "HTTP/1.0" if head.http10 else "HTTP/1.1",
            "version": transaction.target.name,
            "release": transaction.target.release or None,
            "status": status,
            "cause": cause,
            "bytes_in": bytes_in,
            "bytes_out": transaction.bytes_out,
            "duration_ms": round((now_us - request.started_us) / 1000, 3),
            "upstream_ms": None if upstream_us is None else round(upstream_us / 1000, 3),
            "user_agent": agent.decode("latin-1"),
            **({"limit": transaction.limited.name} if transaction.limited is not None else {}),
        }
        try:
            os.write(self._descriptor, json.dumps(line).encode() + b"\n")
        except OSError:
            pass  # nothing that could be done here would help the request
