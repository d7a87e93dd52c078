"""Asking the running router over HTTP, as any other client would, with short timeouts."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from app.command_line import ROUTER_PROGRAM
from app.operator_errors import OperatorError
from app.settings.tables.router_settings import RouterConfig
from app.transport.loopback import refuse_itself

__all__ = ["HEALTH_PATH", "METRICS_PATH", "Answer", "RouterClient", "RouterUnreachable"]

HEALTH_PATH = "/__router_health"
METRICS_PATH = "/__router_metrics"


_TIMEOUT_S = 5.0
"""Both endpoints answer from memory; a router that takes longer is in trouble, and a person is waiting."""

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Where to reach a router that listens on every address."""


class RouterUnreachable(OperatorError):
    """The router did not answer: it is not running, or it hangs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the router; `elapsed_ms` runs from connecting to the last byte, `location` is where it leads."""

    status: int
    body: bytes
    elapsed_ms: float
    location: str = ""

    def json(self) -> Mapping[str, Any]:
        """The body as a JSON object, whatever its values; raises `ValueError` if it is none."""
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value


class RouterClient:
    """The router at one address; every call makes a connection of its own."""

    def __init__(self, config: RouterConfig, port: int | None = None, timeout_s: float = _TIMEOUT_S) -> None:
        self.host = _WILDCARDS.get(config.bind, config.bind)
        self.port = config.main_port if port is None else port
        # Everything of the router's own but the health report may be at an address of its own.
        host_text, _, port_text = config.admin_bind.rpartition(":") if self.port == config.main_port else ("", "", "")
        host_text = host_text.strip("[]")
        self._admin = (_WILDCARDS.get(host_text, host_text), int(port_text)) if port_text else (self.host, self.port)
        self._timeout_s = timeout_s
        self._token = config.admin_token

    def get(self, path: str, host: str = "", scheme: str = "") -> Answer:
        """Ask for a path, of the application under the name `host`; raises `RouterUnreachable` without an answer.

        `scheme` is what a proxy in front would say the client speaks.
        """
        headers = {"Accept": "application/json", "User-Agent": "traffic_router"}
        if host:
            headers["Host"] = host
        if scheme:
            headers["X-Forwarded-Proto"] = scheme
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        began = time.monotonic()
        at, port = self._admin if path.startswith(METRICS_PATH) else (self.host, self.port)
        try:
            with closing(http.client.HTTPConnection(at, port, timeout=self._timeout_s)) as connection:
                connection.connect()
                refuse_itself(connection.sock, port)
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                body = response.read()
        except ConnectionRefusedError as error:
            raise RouterUnreachable(
                f"not running: nothing listens on {_where(at, port)}", f"{ROUTER_PROGRAM} start"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            said = str(error) or type(error).__name__
            raise RouterUnreachable(f"no answer on {_where(at, port)}: {said}") from error
        return Answer(response.status, body, (time.monotonic() - began) * 1000, response.getheader("Location", ""))

    def worker(self) -> int:
        """The pid of a worker that answers; 0 when none does."""
        try:
            return int(self.get(HEALTH_PATH).json()["traffic"]["worker"]["pid"])
        except (RouterUnreachable, ValueError, KeyError):
            return 0

    def answers(self) -> bool:
        """Whether a router serves there, healthy (200) or not (503)."""
        try:
            return self.get(HEALTH_PATH).status in (200, 503)
        except RouterUnreachable:
            return False


def _where(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
