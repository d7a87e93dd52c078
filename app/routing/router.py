"""Which version is active right now, and the claim that a request lays on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic, monotonic_ns, time

from urllib3 import HTTPHeaderDict

from app.address import DEFAULT_ADDRESS, Address, Backend
from app.errors import NoActiveVersion, QueueFull, RouterError, TrafficPaused, UnderMaintenance
from app.protocol.forwarding import Forwarding
from app.protocol.heads import upstream_head
from app.protocol.request import RequestParser
from app.routing.backends import Counts, OwnCounts
from app.routing.target_maker import TargetMaker
from app.routing.targets import NO_VERSION, NOWHERE, Claims, NoClaims, Target
from app.settings.tables.backends_settings import BackendsConfig
from app.settings.tables.router_settings import RouterConfig
from app.state.model import PORTS, BlueGreenState, VersionState
from app.state.watch import StateWatch
from app.transport.blocking import connect_blocking
from app.transport.limits import TimeLimit
from app.transport.names import addresses_of
from app.upstream.adapter import UpstreamAdapter
from app.upstream.exchange import ExchangeTimeouts
from app.upstream.fresh import FreshConnections
from app.upstream.messages import UpstreamRequest
from app.upstream.session import UpstreamSession
from app.upstream.whole import compose, read_whole

__all__ = ["NOWHERE", "NO_VERSION", "Claims", "NoClaims", "Target", "TrafficRouter"]


class TrafficRouter:
    """Routes to the active version; in plain Python also sends single requests there.

        router = TrafficRouter(RouterConfig(state_file=".local_context/bg_state.json"))
        port = router.get_active_port()
        status, headers, body = router.proxy_request("GET", "/api/data", {"Host": "example.com"}, None)

    Args:
        config: the settings.
        claims: counts requests in flight.
        open_session: makes the session of an address, once for each; by default one that blocks its thread.
        address: of the loopback, where versions listen.
        ports: by version, where the state file names none.
        backends: where versions listen that others run.
        counts: makes what the workers know of a version's backends, by its index; by default what this process knows.
        now: seconds, the same for a whole turn of the event loop.
        names: the addresses of a backend's name; they are asked for again after `renew`.

    Attributes:
        seen: the state as the last look found it.
        generation: how many different states have been seen so far.
        has_previews: whether the state has a key that tokens may be signed with.
        canary_target: the version that a split gives a share of the requests, while it can take some.
    """

    def __init__(
        self,
        config: RouterConfig | None = None,
        claims: Claims | None = None,
        open_session: Callable[[Address], UpstreamSession] | None = None,
        address: str = DEFAULT_ADDRESS,
        ports: Mapping[str, int] = PORTS,
        backends: BackendsConfig | None = None,
        counts: Callable[[int], Counts] = lambda version: OwnCounts(),
        now: Callable[[], float] = monotonic,
        names: Callable[[str], Iterable[str]] = addresses_of,
    ) -> None:
        self._address = address
        self.config = config or RouterConfig()
        self.state = StateWatch(self.config.state_file, ports)
        self._claims = claims or NoClaims()
        self._open_session = open_session or self._blocking_session
        self._sessions: dict[Address, UpstreamSession] = {}
        threshold = self.config.hold.circuit_failures
        self._maker = TargetMaker(address, backends or BackendsConfig(), threshold, self.session, counts, now, names)
        self.seen: BlueGreenState | None = None
        self.generation = 0
        self.has_previews = False
        self._seen_at = 0.0
        self._target: Target | None = None  # None while claims are not simply laid on the active version
        self._active: Target | None = None
        self._standby: Target | None = None
        self._serving: Target | None = None  # the active version, or the standby in its place
        self.canary_target: Target | None = None

    # --- which version ------------------------------------------------------------------------------------

    def target(self) -> Target:
        """Where the state file, as it is at this moment, sends a request.

        Raises NoActiveVersion, UnderMaintenance and TrafficPaused.
        """
        state = self.state.current()
        if state is not self.seen:
            self._look_at(state)
        return self._target or self._target_by_the_clock()

    def look(self) -> BlueGreenState | None:
        """The state as it is at this moment, also for what goes on between requests."""
        state = self.state.current()
        if state is not self.seen:
            self._look_at(state)
        return state

    def renew(self) -> None:
        """Works out anew where the versions of the state are: a name has other addresses."""
        state, self.seen = self.seen, None
        self._look_at(state)

    def _look_at(self, state: BlueGreenState | None) -> None:
        """Decides, once for each state, what each request then only looks up."""
        if state == self.seen:  # a file that has just been written is read again for a while
            self.seen = state
            return
        before, self.seen = self.seen, state
        self.generation += 1
        self.has_previews = state is not None and bool(state.preview_key)
        if before is not None and state is not None and _is_as_before(before, state):
            self._share_out(state)
            self._claims.note_state(state.serial)
            return
        self._seen_at = monotonic()
        active = state.active if state is not None else None
        self._active = self._maker.target_of(active) if active is not None else None
        self._standby = None
        self._serving = self._active
        is_closed = state is not None and (state.pause is not None or state.maintenance is not None)
        self._target = None if is_closed else self._active
        self.canary_target = None
        if state is not None:
            self._share_out(state)
            self._keep_sessions(state)
            for version in state.versions.values():
                self._maker.welcome(version)
            self._claims.note_state(state.serial)  # last: whoever stops a version waits for it

    def _share_out(self, state: BlueGreenState) -> None:
        """Notes which version has a share; one that was stopped, or is not up yet, has none."""
        split, self.canary_target = state.split, None
        if split is not None and split.weight and self._active is not None and state.version(split.canary).is_up:
            self.canary_target = self._standby_in(state)

    def _standby_in(self, state: BlueGreenState) -> Target:
        if self._standby is None:
            self._standby = self._maker.target_of(state.version(state.standby_version))
        return self._standby

    def _keep_sessions(self, state: BlueGreenState) -> None:
        """One for each place that the state names; requests that are still on others end there.

        Where a process is about to end, idle connections are no use, and a server may wait for them.
        """
        places = {
            backend.address: version.status != "stopping" and str(backend.address) not in version.drained
            for version in state.versions.values()
            for backend in self.backends_of(version)
        }
        for address in self._sessions.keys() - places.keys():
            self._sessions.pop(address).keep_idle(False)
        for address, keeps in places.items():
            self.session(address).keep_idle(keeps)

    def backends_of(self, version: VersionState) -> tuple[Backend, ...]:
        """Where a version listens."""
        return self._maker.backends_of(version)

    def _target_by_the_clock(self) -> Target:
        """What `target` says when that is not simply the active version: pause and maintenance end by themselves."""
        state = self.seen
        if state is None or self._serving is None:
            raise NoActiveVersion(self.state.fault or "the state file names no active version")
        if state.maintenance is not None and state.maintenance.holds(now := time()):
            raise UnderMaintenance(state.maintenance.message, state.maintenance.comes_back_in_s(now))
        self._check_pause()
        self._target = self._serving
        return self._target

    def _check_pause(self) -> None:
        state = self.seen
        if state is not None and state.pause_at(time()) is not None:
            raise TrafficPaused("the traffic is paused")

    def active(self) -> Target:
        """The active version, whatever keeps requests from it. Raises NoActiveVersion."""
        self.look()
        if self._active is None:
            raise NoActiveVersion(self.state.fault or "the state file names no active version")
        return self._active

    def past_maintenance(self) -> Target:
        """Where requests go whom maintenance lets pass. Raises NoActiveVersion, TrafficPaused."""
        active = self.active()
        self._check_pause()
        return self._serving or active

    def standby(self) -> Target:
        """The version that is not active. Raises NoActiveVersion when none is, and TrafficPaused."""
        self.past_maintenance()
        assert self.seen is not None
        return self._standby_in(self.seen)

    def canary(self) -> Target:
        """The version that has a share of the requests; where it has none, that of all others. Raises as `target`."""
        target = self.target()
        return self.canary_target or target

    def divert(self, target: Target) -> None:
        """Sends requests to `target`, the active version or the standby, until the state changes."""
        if target in (self._active, self._standby):
            self._serving = target
            if self._target is not None:
                self._target = target

    @property
    def is_diverted(self) -> bool:
        """Whether the standby has the requests that the active version should have."""
        return self._serving is not self._active

    @property
    def known_targets(self) -> list[Target]:
        """The active version, and the standby once it was asked for."""
        return [target for target in (self._active, self._standby) if target is not None]

    @property
    def seen_for_s(self) -> float:
        """How long that state has been in force, as far as this process knows."""
        return monotonic() - self._seen_at

    def get_active_port(self) -> int:
        """The port of the active version. Raises NoActiveVersion."""
        return self.active().address.port

    def claim(self, method: bytes, path: bytes, now_us: int, request_id: bytes = b"") -> tuple[int, Target]:
        """Counts a request in flight on the active version: (its row, the version). Raises what `target` raises.

        The claim comes first, on the version that was active when last looked, and the look at the state
        file after it. If that shows another state, the claim is given back and laid again. The deployer goes
        the other way: it writes the state, then watches the old version's count. So either it sees our
        claim, or we see its state; no request slips to a version that is being stopped.
        """
        claims = self._claims
        target = self._target or self.target()
        row = claims.start(target.version, method, path, now_us, request_id)
        try:
            if self.target() is target:
                return row, target
        except RouterError:
            self._unclaim(row, target)
            raise
        self._unclaim(row, target)
        return self.claim_on(self.target, method, path, now_us, request_id)

    def claim_on(
        self, pick: Callable[[], Target], method: bytes, path: bytes, now_us: int, request_id: bytes = b""
    ) -> tuple[int, Target]:
        """As `claim`, on what `pick` gives, a method of this router such as `standby`. Raises what `pick` raises."""
        while True:
            target = pick()
            row = self._claims.start(target.version, method, path, now_us, request_id)
            try:
                if pick() is target:
                    return row, target
            except RouterError:
                self._unclaim(row, target)
                raise
            self._unclaim(row, target)

    def _unclaim(self, row: int, target: Target) -> None:
        self._claims.unclaim(row, target.version)
        self._maker.settle(target.version)

    def session(self, where: Address | int) -> UpstreamSession:
        """The session of an address, or of a port at the usual one."""
        address = where if isinstance(where, Address) else Address(self._address, where)
        session = self._sessions.get(address)
        if session is None:
            session = self._sessions[address] = self._open_session(address)
        return session

    # --- plain Python -------------------------------------------------------------------------------------

    def _blocking_session(self, address: Address) -> UpstreamSession:
        connections = FreshConnections(address, connect_blocking, TimeLimit(self.config.connection_timeout))
        reading = TimeLimit(self.config.read_timeout)
        return UpstreamSession(UpstreamAdapter(connections, ExchangeTimeouts(reading, reading, reading)))

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
        row, whole = self.claim(method.encode("latin-1"), path.encode("latin-1"), monotonic_ns() // 1000)
        target, backends = whole, whole.backends
        try:
            raw = compose(method, path, headers, body, whole.authority)
            head = RequestParser(config.max_fields, allow_trace=config.allow_trace).parse(raw)
            forwarding = Forwarding(b"127.0.0.1", b"http", config.main_port, config.forwarded_hops)
            if backends is not None:
                picked = backends.pick(head, forwarding)
                if picked is None:
                    raise QueueFull("each backend has as many requests as it may have")
                target = picked
            added = forwarding.lines(head)
            sent = upstream_head(head, added, target.authority) + (body or b"")
            answer = target.send(UpstreamRequest(target.address, head.method, head.target, sent))
            return read_whole(answer, TimeLimit(config.read_timeout))
        finally:
            if target.leave is not None:
                target.leave()
            self._claims.unclaim(row, whole.version)


def _is_as_before(before: BlueGreenState, state: BlueGreenState) -> bool:
    """Whether at most the share of a version is another one: what is known of the versions' failures still holds."""
    return (
        (before.split is not None or state.split is not None)
        and before.versions == state.versions
        and before.active_version == state.active_version
        and before.switches == state.switches
        and before.pause == state.pause
        and before.maintenance == state.maintenance
    )
