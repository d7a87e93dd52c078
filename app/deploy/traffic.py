"""What the deploy commands can see of the router's traffic, from whatever process one asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from app.address import Address
from app.canary.outcomes import Pair
from app.metrics.backend_rows import BackendRow
from app.metrics.snapshot import Streams

if TYPE_CHECKING:
    from app.facts import Recent

__all__ = ["TrafficSample", "Cut", "Row", "Tally", "Traffic"]


class Tally(NamedTuple):
    """What became of a version's requests since the metrics began; only the difference of two means something.

    `ended` counts the cut ones too. `failed` are those whose client got a 5xx or a broken-off answer.
    `held_counts` is the histogram of how long requests were held (`app.metrics.histogram`).
    """

    ended: int
    in_flight: int
    cut: int
    failed: int
    held: int
    held_ms: float
    retried: int
    longest_held_ms: float = 0.0
    held_counts: Sequence[int] = ()
    streams: Streams = Streams()


class Cut(Protocol):
    """A request whose answer was broken off; two of them are told apart by comparing them."""

    @property
    def version(self) -> str: ...
    @property
    def request_id(self) -> str: ...


class TrafficSample(NamedTuple):
    """How a version did in some stretch of time; `p95_ms` is None without requests."""

    requests: int
    failed: int
    p95_ms: float | None


class Row(Protocol):
    """A request that is being answered."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def age_s(self) -> float: ...
    @property
    def request_id(self) -> str: ...


class Traffic(Protocol):
    """What the router's workers have in flight, from whatever process one asks."""

    def in_flight(self, version: str) -> int:
        """How many requests a version is answering, over all workers."""

    def in_flight_on(self, version: str, addresses: Sequence[Address]) -> int:
        """The same for some of its addresses; where it has several, they are counted."""

    def backends(self, version: str, addresses: Sequence[Address]) -> Sequence[BackendRow]:
        """What the workers have given to each of a version's several addresses."""

    def uses(self, version: str, address: Address) -> bool:
        """Whether the workers send requests to one of a version's addresses, as far as its health goes."""

    def in_flight_rows(self, version: str) -> Sequence[Row]:
        """The requests themselves, oldest first."""

    def held(self) -> int:
        """How many requests are held back, over all workers."""

    def is_state_known(self, serial: int) -> bool:
        """Whether all workers act by the state of that serial; one that hangs is not waited for."""

    def failover(self) -> str | None:
        """The version whose requests go to the standby because it is down; None when there is none."""

    def tallies(self) -> Mapping[str, Tally]:
        """What became of the requests of each version since the metrics began."""

    def cuts(self) -> Sequence[Cut]:
        """The last requests whose answer was broken off, the newest last."""

    def conduct(self, version: str, seconds: int) -> TrafficSample:
        """How a version did in the last so many seconds."""

    def pace(self, version: str) -> tuple[float, float] | None:
        """A version's median and 95th percentile in the last five minutes, in ms; None without requests."""

    def shared_out(self, canary: str, *, by_client: bool) -> Pair:
        """What was counted of the requests that were shared out, or of their clients: of the canary and the other."""

    def clients_of(self, canary: str) -> int:
        """Of how many different clients the canary has had requests; a lower bound."""

    def recent(self, version: str, lived_s: float | None) -> Recent:
        """How a version did in the last minute, or in the time that its process has lived."""
