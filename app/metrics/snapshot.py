"""The values a reader of the shared metrics gets: plain, frozen, detached from the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from app.errors import FAILURES
from app.limits.limit_figures import LimitFigures, RefusedKey
from app.logins.login_figures import LoginFigures
from app.metrics.backend_rows import BackendRow, who


@dataclass(frozen=True)
class Latency:
    """How long something took, in ms; every figure None when nothing was measured.

    `counts` is the histogram behind it: 736 buckets for a lifetime, 92 coarse ones for a window
    (`app.metrics.histogram`), which puts the percentiles and the maximum within 1/64 or 1/8. The mean is exact,
    and so is the maximum of a lifetime's `total`.
    """

    count: int
    sum_ms: float
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    counts: Sequence[int] = field(repr=False)


class Streams(NamedTuple):
    """Event streams and tunnels that have ended: handed over between two messages, by themselves, or cut."""

    handed_over: int = 0
    finished: int = 0
    cut: int = 0


class Queue(NamedTuple):
    """Waits for room on a version's backends: how many there were, and how long all and the longest took."""

    waits: int = 0
    total_ms: float = 0.0
    longest_ms: float = 0.0


class VersionStats(NamedTuple):
    """What happened to the requests of one version, or of all together.

    `requests` = finished + aborted. `failed` = the client got a 5xx or a broken-off answer, the aborted
    ones included. `cut` = the client got a broken-off answer, or none because the worker died; the latter are
    `aborted`. `in_flight` is the number at this moment, in a window too; a window has the cut and the aborted
    ones among the failed, not apart.
    `code_classes` is keyed "none", "1xx" … "5xx", where "none" means that no status reached the client.
    """

    name: str
    requests: int
    failed: int
    aborted: int
    cut: int
    in_flight: int
    retries: int
    held: int
    held_ms: float | None
    """None in a window."""
    bytes_in: int | None
    """Request bodies; None in a window, which keeps the sum of both directions only."""
    bytes_out: int | None
    """Answer bodies; None in a window."""
    bytes_proxied: int
    code_classes: Mapping[str, int]
    causes: Mapping[str, int]
    statuses: Mapping[int, int]
    """By exact status code; empty in a window, which keeps classes only."""
    total: Latency
    first_byte: Latency | None
    """None in a window."""
    upstream: Latency | None
    """None in a window."""
    holds: Latency | None
    """How long requests were held; None in a window."""
    streams: Streams = Streams()
    """None counted in a window, nor those of a worker that died."""
    queue: Queue = Queue()
    """None counted in a window."""

    @property
    def failures(self) -> dict[str, int]:
        """The failed ones by cause, "" for those that the application answered with a 5xx of its own."""
        causes = {cause: count for cause, count in self.causes.items() if cause in FAILURES}
        # What is left without a 5xx was in a worker that died.
        own = min(self.failed - sum(causes.values()), self.code_classes.get("5xx", 0))
        return {"": own, **causes} if own > 0 else causes

    @property
    def successful(self) -> int:
        """Requests that did not fail."""
        return self.requests - self.failed


WORKER_DIED = "worker_died"
"""The cause of a cut request that was in flight in a worker when it died; no error of ours stands for it."""


class InFlightRow(NamedTuple):
    """One request that is being answered right now."""

    version: str
    method: str
    path: str
    """Without its query; cut where it does not fit into 176 bytes with the method and the id."""
    age_s: float
    pid: int
    request_id: str = ""
    """Its X-Request-ID; "" for what a script records."""
    backend: int = 0
    """Who of its version's backends has it, as `backend_rows.who` names it; 0 where there is but one."""


@dataclass(frozen=True)
class CutRequest:
    """One request whose answer was broken off."""

    version: str
    request_id: str
    method: str
    path: str
    backend: int
    """As in flight."""
    cause: str
    """One of `app.errors.CAUSES`, or `WORKER_DIED`."""
    started_us: int
    """Monotonic µs; with the rest it tells one request from any other."""
    at_us: int | None = field(default=None, compare=False)
    """When it was broken off, monotonic µs; None while nobody has found the death of its worker."""


class FailedRequest(NamedTuple):
    """One request that failed: answered with a 5xx, or broken off."""

    version: str
    request_id: str
    method: str
    path: str
    """As in flight."""
    backend: int
    """As in flight."""
    status: int
    """What the client saw; 0 when it saw none."""
    cause: str
    """One of `app.errors.CAUSES`; "" when the application answered so itself."""
    at: float
    """Wall clock, seconds since the epoch: its end."""
    took_ms: float


class WorkerStats(NamedTuple):
    """One live writer of the file."""

    slot: int
    pid: int
    role: str
    """"worker", or "script" for a process that records through `MetricsCollector`."""
    started_at: float
    """Wall clock, seconds since the epoch."""
    heartbeat_age_s: float
    requests: int
    """Finished since this worker took its slot."""
    in_flight: int
    held: int
    """Requests it holds back at this moment."""
    queued: int
    """Requests that wait there for room on a backend."""
    connections: int | None
    """Client connections it holds; None while it does not accept any."""
    is_leader: bool


class Probe(NamedTuple):
    """One health probe of a version, as the leading worker saw it."""

    at: float
    """Wall clock, seconds since the epoch."""
    ok: bool
    status: int
    """0 when there was no answer."""
    latency_ms: float
    reason: str


@dataclass(frozen=True)
class FailoverStatus:
    """Whether requests for a version that is down go to the standby at this moment."""

    version: str | None
    """The version that they leave; None while they go where they should."""
    workers: int
    """How many workers divert them."""
    since: float | None
    """Wall clock, seconds since the epoch; None while there is none, or the leader has not seen it yet."""
    count: int
    """How often it happened since the file was made: once for all workers."""


class Snapshot(NamedTuple):
    """Everything the file says at one moment, over all workers."""

    at: float
    """Wall clock, seconds since the epoch."""
    window_s: int | None
    """None: since the file was made. Otherwise the last so many seconds, the running one included."""
    uptime_s: float
    """Since a router was started while none was running; reloads and upgrades do not reset it."""
    versions: Mapping[str, VersionStats]
    """"blue", "green", and "router" for what the router answered without picking a version."""
    overall: VersionStats
    rows: Sequence[InFlightRow]
    """Oldest first. A worker names at most 256; `in_flight` counts all."""
    cuts: Sequence[CutRequest]
    """The last cut requests, newest last; at most 32 of each slot are remembered, more of a dead worker."""
    workers: Sequence[WorkerStats]
    probes: Mapping[str, Sequence[Probe]]
    """"blue" and "green": the last eight health probes, oldest first."""
    failover: FailoverStatus
    state_fault: bool
    fault: str
    """Why the file could not be used, "" when all is well."""
    failures: Sequence[FailedRequest] = ()
    """The last failed requests, newest last; at most 32 of each slot are remembered."""
    log_fault: bool = False
    """Whether a worker cannot write the access log at this moment."""
    lost_lines: int = 0
    """Lines of the access log that could not be written, since the file was made."""
    backends: Mapping[str, Sequence[BackendRow]] = MappingProxyType({})
    """Those of versions that have several; put in by who knows their addresses, which the file does not."""
    limits: Sequence[LimitFigures] = ()
    """What the limits have done; put in by who has their file."""
    refused: Sequence[RefusedKey] = ()
    """The keys that they refused last, newest first; likewise."""
    logins: LoginFigures | None = None
    """Put in by who has some."""

    def address_of(self, one: InFlightRow | CutRequest | FailedRequest) -> str:
        """The address of the backend that had a request; "" where its version has but one, or that one no more."""
        rows = self.backends.get(one.version, ()) if one.backend else ()
        return next((row.address for row in rows if who(row.address) == one.backend), "")

    @property
    def held(self) -> int:
        """Requests held back at this moment, by all live workers."""
        return sum(worker.held for worker in self.workers)

    @property
    def queued(self) -> int:
        """Requests that wait for room on a backend at this moment, in all live workers."""
        return sum(worker.queued for worker in self.workers)


class Series(NamedTuple):
    """One version's history; one entry per point of `MetricsHistory.times`."""

    requests: Sequence[int]
    failed: Sequence[int]
    p50_ms: Sequence[float | None]
    p95_ms: Sequence[float | None]
    in_flight: Sequence[int]


class MetricsHistory(NamedTuple):
    """What happened when: complete steps only, oldest first, without gaps."""

    step_s: int
    """1 up to ten minutes, 10 beyond."""
    times: Sequence[int]
    """Wall clock second at which each step began."""
    versions: Mapping[str, Series]
