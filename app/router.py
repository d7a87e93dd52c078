"""Which version is active right now, and the claim that a request lays on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic_ns
from typing import Protocol

from urllib3 import HTTPHeaderDict

from app.config import RouterConfig
from app.errors import NoActiveVersion, RouterError
from app.protocol.heads import Forwarding, upstream_head
from app.protocol.request import RequestParser
from app.state.model import BlueGreenState
from app.state.watch import StateWatch
from app.transport.blocking import connect_blocking
from app.transport.limits import TimeLimit
from app.upstream.adapter import UpstreamAdapter
from app.upstream.exchange import Limits
from app.upstream.fresh import FreshConnections
from app.upstream.messages import UpstreamAnswer, UpstreamRequest
from app.upstream.session import UpstreamSession
from app.upstream.whole import compose, read_whole

__all__ = ["NOWHERE", "NO_VERSION", "Claims", "NoClaims", "Target", "TrafficRouter"]

NO_VERSION = 2
"""The index, in the metrics, of requests that no version was picked for."""


class Claims(Protocol):
    """Where in-flight requests are counted; `app.metrics.slot.SlotWriter` in a worker."""

    def start(self, version: int, method: bytes, target: bytes, now_us: int) -> int:
        """Counts a request on a version; returns its row."""

    def unclaim(self, row: int, version: int) -> None:
        """Takes a `start` back."""


class NoClaims:
    """Counts nothing: for plain Python, where no drain waits for what the caller does."""

    def start(self, version: int, method: bytes, target: bytes, now_us: int) -> int:
        """No row."""
        return -1

    def unclaim(self, row: int, version: int) -> None:
        """Nothing to take back."""


class Target:
    """A version that requests can be sent to.

    Attributes:
        version: 0 for blue, 1 for green, else `NO_VERSION`.
        name, port: of the version.
        authority: its host and port, as a Host field names them.
        send: sends a request through the `requests.Session` of the port.
    """

    __slots__ = ("authority", "name", "port", "send", "version")

    def __init__(self, version: int, name: str, port: int, send: Callable[[UpstreamRequest], UpstreamAnswer]) -> None:
        self.version = version
        self.name = name
        self.port = port
        self.authority = b"127.0.0.1:%d" % port
        self.send = send


def _send_nowhere(request: UpstreamRequest) -> UpstreamAnswer:
    raise NoActiveVersion("no version was picked")


NOWHERE = Target(NO_VERSION, "", 0, _send_nowhere)
"""The target of requests that the router answers itself."""


class TrafficRouter:
    """Routes to the active version; in plain Python also sends single requests there.

        router = TrafficRouter(RouterConfig(state_file=".local_context/bg_state.json"))
        port = router.get_active_port()
        status, headers, body = router.proxy_request("GET", "/api/data", {"Host": "example.com"}, None)

    Args:
        config: the settings.
        claims: counts requests in flight.
        open_session: makes the session of a port, once per port; by default one that blocks its thread.
    """

    def __init__(
        self,
        config: RouterConfig | None = None,
        claims: Claims | None = None,
        open_session: Callable[[int], UpstreamSession] | None = None,
    ) -> None:
        self.config = config or RouterConfig()
        self.state = StateWatch(self.config.state_file)
        self._claims = claims or NoClaims()
        self._open_session = open_session or self._blocking_session
        self._sessions: dict[int, UpstreamSession] = {}
        self._seen: BlueGreenState | None = None
        self._target: Target | None = None

    # --- which version ------------------------------------------------------------------------------------

    def target(self) -> Target:
        """The active version as the state file names it at this moment. Raises NoActiveVersion."""
        state = self.state.current()
        if state is not self._seen:
            self._seen = state
            active = state.active if state is not None else None
            self._target = None
            if active is not None:
                self._target = Target(active.index, active.name, active.port, self.session(active.port).send)
        if self._target is None:
            raise NoActiveVersion(self.state.fault or "the state file names no active version")
        return self._target

    def get_active_port(self) -> int:
        """The port of the active version. Raises NoActiveVersion."""
        return self.target().port

    def claim(self, method: bytes, path: bytes, now_us: int) -> tuple[int, Target]:
        """Counts a request in flight on the active version: (its row, the version). Raises NoActiveVersion.

        The claim comes first, on the version that was active when last looked, and the look at the state
        file after it. If that shows another state, the claim is given back and laid again. The deployer goes
        the other way: it writes the state, then watches the old version's count. So either it sees our
        claim, or we see its state; no request slips to a version that is being stopped.
        """
        claims = self._claims
        target = self._target or self.target()
        while True:
            row = claims.start(target.version, method, path, now_us)
            try:
                now = self.target()
            except NoActiveVersion:
                claims.unclaim(row, target.version)
                raise
            if now is target:
                return row, target
            claims.unclaim(row, target.version)
            target = now

    def session(self, port: int) -> UpstreamSession:
        """The session of a port."""
        session = self._sessions.get(port)
        if session is None:
            session = self._sessions[port] = self._open_session(port)
        return session

    # --- plain Python -------------------------------------------------------------------------------------

    def _blocking_session(self, port: int) -> UpstreamSession:
        connections = FreshConnections(port, connect_blocking, TimeLimit(self.config.connection_timeout))
        reading = TimeLimit(self.config.read_timeout)
        return UpstreamSession(UpstreamAdapter(connections, Limits(reading, reading, reading)))

    def proxy_request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        body: bytes | None = None,
    ) -> tuple[int, HTTPHeaderDict, bytes]:
        """Sends one request to the active version and returns its whole answer.

        Args:
            method, path: any method; the path with its query.
            headers: fields by name, or list of (name, value); text is sent as latin-1.
            body: the request's body.

        Returns (status, mapping of fields that keeps repeated ones, body). When the version gives no answer,
        status and text are those that a client of the router would get: 502, 503 or 504.
        """
        try:
            return self._send(method, path, headers, body)
        except RouterError as error:
            text = error.text.encode()
            fields = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(text))}
            return error.status, HTTPHeaderDict(fields), text

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        body: bytes | None,
    ) -> tuple[int, HTTPHeaderDict, bytes]:
        config = self.config
        row, target = self.claim(method.encode("latin-1"), path.encode("latin-1"), monotonic_ns() // 1000)
        try:
            raw = compose(method, path, headers, body, target.authority)
            head = RequestParser(config.max_fields, allow_trace=config.allow_trace).parse(raw)
            added = Forwarding(b"127.0.0.1", b"http", config.main_port, config.forwarded_hops).lines(head)
            sent = upstream_head(head, added, target.authority) + (body or b"")
            answer = target.send(UpstreamRequest(target.port, head.method, head.target, sent))
            return read_whole(answer, TimeLimit(config.read_timeout))
        finally:
            self._claims.unclaim(row, target.version)
