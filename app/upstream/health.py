"""Asks one version once whether it is well, over a connection of its own that is closed afterwards.

Plain http.client: it serves the command line as well as a worker that gevent has patched, and a probe must
not depend on the pool whose upstream it judges.
"""

from __future__ import annotations

import io
import socket
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import BinaryIO, cast

from app.config import AppConfig

__all__ = ["ProbeResult", "probe"]

BODY_START_BYTES = 200
"""As much of the answer's body as helps a person to see who answered."""

_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One answer, or the lack of one. `status` is None without an answer; `reason` is empty when `ok`.

    `location` is the target of a redirect (which is never followed), `body_start` the body's first bytes.
    """

    ok: bool
    status: int | None
    latency_ms: float
    location: str = ""
    body_start: bytes = b""
    reason: str = ""


def probe(port: int, app: AppConfig) -> ProbeResult:
    """Send `GET health_path` to a version and judge the answer; never raises.

    `health_timeout` is a deadline for all of it: a version that trickles its answer is as unwell as a
    silent one.
    """
    began = time.monotonic()
    status, location, body_start = None, "", b""
    try:
        with socket.create_connection((_HOST, port), timeout=app.health_timeout) as connection:
            exchange = _Exchange(connection, began + app.health_timeout)
            answer = exchange.get(app.health_path, app.health_host or f"{_HOST}:{port}")
            status, location = answer.status, answer.getheader("Location", "") or ""
            body_start = answer.read1(BODY_START_BYTES)
        reason = "" if app.expects(status) else f"status {status}, expected {app.health_statuses}"
    except (OSError, HTTPException, ValueError) as error:
        reason = _reason(error, port, status, app.health_timeout)
    latency_ms = (time.monotonic() - began) * 1000
    return ProbeResult(not reason, status, latency_ms, location, body_start, reason)


class _Exchange(io.RawIOBase):
    """One request and its answer on a socket whose every operation ends at the same deadline (monotonic
    seconds).

    It stands in for the socket towards HTTPResponse, which asks for nothing but `makefile`.
    """

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._deadline = deadline
        self._socket = connection
        self._reader = io.BufferedReader(self)
        self._answers: list[HTTPResponse] = []  # one that is let go closes the reader it shares with the next

    def get(self, path: str, host: str) -> HTTPResponse:
        """The answer's head; its body is still to be read."""
        fields = f"Host: {host}\r\nUser-Agent: traffic-router\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        self._socket.settimeout(self._left_s())
        self._socket.sendall(f"GET {path} HTTP/1.1\r\n{fields}".encode("latin-1"))
        while True:
            # HTTPResponse asks the socket for `makefile` only, and typeshed wants all of a socket.
            answer = HTTPResponse(cast(socket.socket, self), method="GET")
            self._answers.append(answer)
            answer.begin()
            # http.client takes 103 for the final answer; the one that counts comes after it (RFC 9110 §15.2).
            if answer.status >= 200:
                return answer

    def makefile(self, mode: str) -> BinaryIO:
        """What is left to read; the same buffer each time, so that nothing after a 1xx answer is lost."""
        return cast(BinaryIO, self._reader)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader hands a memoryview
        self._socket.settimeout(self._left_s())
        return self._socket.recv_into(buffer)

    def _left_s(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _reason(error: Exception, port: int, status: int | None, timeout_s: float) -> str:
    answered = "" if status is None else f"status {status}, but "
    if isinstance(error, TimeoutError):
        return f"{answered}no complete answer within {timeout_s:g} s"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on port {port}"
    if isinstance(error, ConnectionError):  # http.client's RemoteDisconnected is one of these
        return f"{answered}the connection was closed before the answer was complete"
    return f"{answered}not a usable HTTP answer: {type(error).__name__} {error}".rstrip()
