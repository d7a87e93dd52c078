"""Where requests can go: a version as one state has it, and the counting of those that are in flight on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from app.errors import NoActiveVersion
from app.routing.circuit import Circuit
from app.transport.address import Address
from app.upstream.fresh import Connections
from app.upstream.messages import UpstreamRequest, UpstreamResponse

__all__ = ["NOWHERE", "NO_VERSION", "Claims", "NoClaims", "Target"]

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
    """

    __slots__ = (
        "address",
        "authority",
        "circuit",
        "connections",
        "is_starting",
        "is_stopped",
        "name",
        "release",
        "send",
        "version",
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


def _send_nowhere(request: UpstreamRequest) -> UpstreamResponse:
    raise NoActiveVersion("no version was picked")


NOWHERE = Target(NO_VERSION, "", Address(""), _send_nowhere)
"""The target of requests that the router answers itself."""
