"""Where requests can go: a version as one state has it, and the counting of those that are in flight on it."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Protocol

from app.address import Address
from app.errors import NoActiveVersion
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestHead
from app.routing.circuit import Circuit
from app.upstream.fresh import Connections
from app.upstream.messages import UpstreamRequest, UpstreamResponse

__all__ = ["AFFINITY_COOKIE", "NOWHERE", "NO_VERSION", "SPLIT_COOKIE", "Claims", "NoClaims", "Target"]

AFFINITY_COOKIE = b"__router_backend"
"""The cookie that has clients stay on their backend, where `[backends] affinity` is set."""

SPLIT_COOKIE = b"__router_split"
"""The cookie by which clients are told apart while two versions share the requests, where the split says so."""

NO_VERSION = 2
"""The index, in the metrics, of requests that no version was picked for."""


class Claims(Protocol):
    """Where in-flight requests are counted; `app.metrics.slot.SlotWriter` in a worker."""

    def start(self, version: int, method: bytes, target: bytes, now_us: int, request_id: bytes = b"") -> int:
        """Counts a request on a version; returns its row."""

    def unclaim(self, row: int, version: int) -> None:
        """Takes a `start` back."""

    def note_state(self, serial: int) -> None:
        """Says by which state requests are sent from now on."""


class NoClaims:
    """Counts nothing: for plain Python, where no drain waits for what the caller does."""

    def start(self, version: int, method: bytes, target: bytes, now_us: int, request_id: bytes = b"") -> int:
        """No row."""
        return -1

    def unclaim(self, row: int, version: int) -> None:
        """Nothing to take back."""

    def note_state(self, serial: int) -> None:
        """Nobody asks."""


class Choice(Protocol):
    """The choice among the backends of a version: `app.routing.backends.Backends`."""

    @property
    def targets(self) -> Sequence[Target]:
        """One for each backend."""

    @property
    def are_down(self) -> bool:
        """Whether the circuit of each is open."""

    @property
    def limit(self) -> int:
        """The most requests in flight on one backend; 0 is any number."""

    @property
    def room(self) -> int:
        """How many requests more there is room for, where there is a limit."""

    on_room: Callable[[], object] | None
    """Called when a request has left a backend."""

    def pick(self, head: RequestHead, forwarding: Forwarding, cookie: bytes = b"") -> Target | None:
        """The backend for a request, on which it counts as in flight from now on; None when there is no room."""

    def another(self, tried: Container[int]) -> Target | None:
        """One that was not tried yet, likewise; None when there is none."""

    def has_others(self, tried: Container[int]) -> bool:
        """Whether others than those that were tried get requests, were they as many as they may have."""

    def take(self, backend: int) -> Target:
        """That very one, likewise."""

    def count_failure(self, target: Target) -> None:
        """Counts a gateway failure of a backend."""

    def circuit_of(self, target: Target) -> Circuit:
        """The circuit of a backend, made where there is none yet."""

    def eject(self, target: Target) -> float:
        """Leaves a backend alone; returns for how many seconds."""


class Target:
    """A version that requests can be sent to.

    Attributes:
        version: 0 for blue, 1 for green, else `NO_VERSION`.
        name, release: of the version; no release is "".
        address: where it listens; `authority` is that as a Host field names it.
        send: sends a request through the `requests.Session` of the port.
        connections: where `send` takes its connections from.
        is_stopped: the state says that its process was stopped, rather than nothing about it.
        is_starting: the state says that it is on its way up.
        circuit: who counts its failures in a row, from the first one on; before that None.
        backends: of a version that has several, what chooses among them; None of one that has one, and of a backend.
        whole: the version's own target; of a version that is itself.
        backend: a backend's number in its version; -1 of a version.
        who: the word by which the metrics know a backend; 0 of a version.
        cookie: of a backend to which clients stick, the value that names it; else b"".
        leave: of a backend, says that a request that was sent there is in flight no more.
    """

    __slots__ = (
        "address",
        "authority",
        "backend",
        "backends",
        "circuit",
        "connections",
        "cookie",
        "is_starting",
        "is_stopped",
        "leave",
        "name",
        "release",
        "send",
        "version",
        "who",
        "whole",
    )

    def __init__(
        self,
        version: int,
        name: str,
        address: Address,
        send: Callable[[UpstreamRequest], UpstreamResponse],
        is_stopped: bool = False,
        is_starting: bool = False,
        release: str = "",
        connections: Connections | None = None,
    ) -> None:
        self.version = version
        self.name = name
        self.address = address
        self.authority = address.authority.encode()
        self.send = send
        self.connections = connections
        self.release = release
        self.is_stopped = is_stopped
        self.is_starting = is_starting
        self.circuit: Circuit | None = None
        self.backends: Choice | None = None
        self.whole = self
        self.backend = -1
        self.who = 0
        self.cookie = b""
        self.leave: Callable[[], None] | None = None

    @property
    def label(self) -> str:
        """Its name for log lines: the version's, and the address of one of several backends."""
        return self.name if self.backend < 0 else f"{self.name} ({self.address})"


def _send_nowhere(request: UpstreamRequest) -> UpstreamResponse:
    raise NoActiveVersion("no version was picked")


NOWHERE = Target(NO_VERSION, "", Address(""), _send_nowhere)
"""The target of requests that the router answers itself."""
