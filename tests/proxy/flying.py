"""A worker's proxy without a worker: the real parts, wired as they are there, for one request at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any

from app.metrics.snapshot import VersionStats
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestParser
from app.proxy.client_request import ClientBody, ClientRequest
from app.proxy.forwarder import WsgiResponse
from app.proxy.service import Service
from app.settings.loading import Loaded
from app.transport.endpoint import Endpoint
from app.upstream.session import UpstreamSession
from tests.support.configs import router_config
from tests.support.waiting import wait_until
from tests.support.wire import Wire
from tests.transport.loopback import connected


class Flying:
    """A service over a state file that names one upstream, and the client connections made to it."""

    def __init__(self, folder: Path, port: int | None, **settings: Any) -> None:
        state = folder / "bg_state.json"
        active = {"active_version": "blue", "versions": {"blue": {"port": port}}} if port else {}
        state.write_text(json.dumps(active))
        self.log_path = folder / "access.jsonl"
        fields = {"state_file": str(state), "metrics_file": str(folder / "m.mmap"), "access_log": str(self.log_path)}
        self.config = router_config(**{**fields, **settings})
        self.service = Service(Loaded.just(self.config))
        self._endpoints: list[Endpoint] = []
        self._wires: list[Wire] = []

    def request(self, raw: bytes) -> tuple[ClientRequest, Wire]:
        """A request as the worker hands it over, its head being `raw`, and the client's end of its connection."""
        near, far = connected()
        endpoint = Endpoint(near)
        self._endpoints.append(endpoint)
        wire = Wire(far)
        self._wires.append(wire)
        end = raw.index(b"\r\n\r\n") + 4
        head = RequestParser(
            200, self.config.allow_trace, self.config.pass_underscore_fields, self.config.upgrades
        ).parse(raw[:end])
        endpoint.buffered = raw[end:]
        body = None
        if head.has_body:
            body = ClientBody(endpoint, head, self.config.max_body_bytes, self.config.body_rate_floor)
        forwarding = Forwarding(b"127.0.0.1", b"http", self.config.main_port, self.config.forwarded_hops)
        return ClientRequest(head, body, endpoint, forwarding, monotonic_ns() // 1000, head.keep_alive), wire

    def forward(self, raw: bytes) -> tuple[ClientRequest, Wire]:
        """Forwards one request and sends its answer to the client, who may read it from the wire."""
        request, wire = self.request(raw)
        assert list(self.service.forwarder.forward(request)({}, _never_called)) == []
        assert request.answered
        return request, wire

    def forward_in_thread(
        self, raw: bytes, received: list[bytes], forward: Callable[[ClientRequest], WsgiResponse] | None = None
    ) -> ClientRequest:
        """The same for a large answer, which a thread reads to the end of the connection.

        `forward` stands in place of the forwarder's own.
        """
        request, wire = self.request(raw)
        reader = threading.Thread(target=lambda: received.append(_read_all(wire)))
        reader.start()
        (forward or self.service.forwarder.forward)(request)({}, _never_called)
        assert request.endpoint is not None
        request.endpoint.close()
        reader.join(10)
        return request

    def counted(self, version: str = "blue") -> VersionStats:
        """What the metrics say about a version."""
        return self.service.metrics.snapshot().versions[version]

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        assert self.service.records.access_log is not None
        self.service.records.access_log.flush()
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def close(self) -> None:
        """Closes everything that was opened; what is still claimed would make a drain wait."""
        wait_until(lambda: self.service.metrics.in_flight("blue") == 0, "every claim to be released")
        for endpoint in self._endpoints:
            endpoint.close()
        for wire in self._wires:
            wire.close()
        for session in (self.service.router.session(port) for port in self._ports()):
            close_idle(session)
        self.service.slot.close()
        self.service.metrics.close()

    def _ports(self) -> list[int]:
        state = self.service.router.state.current()
        return [state.active.port] if state is not None and state.active is not None else []


def close_idle(session: UpstreamSession) -> None:
    """Closes the connections that a session keeps for later."""
    session.keep_idle(False)
    session.keep_idle(True)


def _read_all(wire: Wire) -> bytes:
    try:
        return wire.read_to_end()
    except ConnectionResetError:
        return bytes(wire.received) + b"<reset>"


def _never_called(*_: Any) -> None:
    raise AssertionError("an answer to an endpoint does not go through WSGI")
