"""The backends of one version: which of them a request goes to.

All workers choose and judge alike: what each has in flight on a backend, and how long a backend is left alone, stands
in the shared metrics (`app.metrics.backend_words`), and is added up once for each turn of the event loop. A version
with one backend and no limit has none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from math import inf
from time import monotonic_ns
from typing import Protocol

from app.address import MAX_BACKENDS, Address
from app.metrics.backend_words import Verdicts
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestHead
from app.routing.choosing import Chooser, KeyOf
from app.routing.circuit import Circuit
from app.routing.roster import Roster
from app.routing.targets import Target

__all__ = ["Backends", "Counts", "OwnCounts"]

_JUDGED_FOR_S = 0.01
"""What other workers have found out is heard this much later at most; until then a request may try for itself."""


class Counts(Protocol):
    """What the workers know of the backends; `app.metrics.backend_words.BackendWords` in a worker."""

    @property
    def own(self) -> list[int]:
        """This worker's requests in flight, by backend."""

    def name(self, addresses: Iterable[Address]) -> None:
        """Says which backends these are, in their order; what is in flight on the only one so far counts there."""

    def settle(self) -> None:
        """Looks what of that has ended; while no request is claimed that is not chosen a backend for."""

    def began(self, backend: int) -> None:
        """One more request of this worker is in flight on a backend, and counted."""

    def reserved(self, backend: int) -> None:
        """One more is in flight as far as a limit goes; it may not be sent, so it is not counted yet."""

    def counted(self, backend: int) -> None:
        """It is sent."""

    def ended(self, backend: int) -> None:
        """One less in flight."""

    def failed(self, backend: int) -> None:
        """One more gateway failure of a backend."""

    def say_out(self, backend: int, word: int) -> None:
        """Says how long a backend is left alone."""

    def say_unwell(self, backend: int, is_unwell: bool) -> None:
        """Says how its health checks go."""

    def look(self) -> None:
        """Looks anew which workers there are: one that has just begun is counted from now on."""

    def in_flight(self, count: int) -> list[int]:
        """The requests in flight on each of the first `count` backends, of all workers."""

    def verdicts(self, count: int) -> Verdicts:
        """What all workers say of the first `count`."""


class OwnCounts:
    """What a process alone knows: for plain Python."""

    def __init__(self) -> None:
        self.own, self._out = [0] * MAX_BACKENDS, [0] * MAX_BACKENDS

    def name(self, addresses: Iterable[Address]) -> None:
        """Nobody asks who they are."""

    def settle(self) -> None:
        """Nothing was counted."""

    def began(self, backend: int) -> None:
        """One more."""
        self.own[backend] += 1

    def reserved(self, backend: int) -> None:
        """One more, in this process at once."""
        self.own[backend] += 1

    def counted(self, backend: int) -> None:
        """Nobody asks how many there were."""

    def ended(self, backend: int) -> None:
        """One less."""
        self.own[backend] -= 1

    def failed(self, backend: int) -> None:
        """Nobody asks how often."""

    def say_out(self, backend: int, word: int) -> None:
        """Notes it."""
        self._out[backend] = word

    def say_unwell(self, backend: int, is_unwell: bool) -> None:
        """Nobody makes health checks."""

    def look(self) -> None:
        """There is none but this one."""

    def in_flight(self, count: int) -> list[int]:
        """As many as this process has."""
        return self.own[:count]

    def verdicts(self, count: int) -> Verdicts:
        """What was noted."""
        return Verdicts(self._out[:count], [0] * count)


class Backends:
    """The choice among one version's backends.

    Args:
        roster: who of them gets requests.
        choose, key_of: see `app.routing.choosing.chooser_of`.
        counts: what all workers know.
        limit: the most requests in flight on one backend, of all workers; 0 is any number.
        now: seconds, the same for a whole turn of the event loop.
        clock_us: monotonic µs.

    Attributes:
        limit: as given.
        on_room: called when a request has left a backend, for those that wait for one.
    """

    def __init__(
        self,
        roster: Roster,
        choose: Chooser,
        key_of: KeyOf | None,
        counts: Counts,
        limit: int,
        now: Callable[[], float],
        clock_us: Callable[[], int] = lambda: monotonic_ns() // 1000,
    ) -> None:
        self.targets: Sequence[Target] = roster.targets
        self.limit = limit
        self.on_room: Callable[[], object] | None = None
        self._roster = roster
        self._choose = choose
        self._key_of = key_of
        self._counts = counts
        self._began = counts.began
        self._now = now
        self._clock_us = clock_us
        self._size = len(self.targets)
        self._by_cookie = {target.cookie: target.backend for target in self.targets if target.cookie}
        self._in_flight = [0] * self._size
        self._counted_at = self._judged_at = -inf
        # What leaves is seen with the next turn of the event loop; only where requests wait for it must it be told.
        leave = self._leave if limit else counts.ended
        for target in self.targets:
            target.leave = partial(leave, target.backend)

    # --- the choice ---------------------------------------------------------------------------------------

    def pick(self, head: RequestHead, forwarding: Forwarding, cookie: bytes = b"") -> Target | None:
        """The backend for a request, on which it counts as in flight from now on, until `leave` of the target.

        `cookie` names the one that the client has had. None where each has as many as it may have.
        """
        now, roster = self._now(), self._roster
        if now != self._counted_at or not roster.is_calm or self.limit:
            self._look(now)
        key = b"" if self._key_of is None else self._key_of(head, forwarding)
        if cookie or self.limit:
            return self._pick_below_limit(key, cookie)
        in_flight = self._in_flight
        one = self._choose(in_flight, roster.usable, roster.weights, key)
        self._began(one)
        in_flight[one] += 1
        return self.targets[one]

    def _pick_below_limit(self, key: bytes, cookie: bytes) -> Target | None:
        free = self._below_limit(self._roster.usable)
        before = self._by_cookie.get(cookie, -1)
        if before in free and (target := self._take_below_limit(before)) is not None:
            return target
        while free:
            one = self._choose(self._in_flight, free, self._roster.weights, key)
            target = self._take_below_limit(one)
            if target is not None:
                return target
            free.remove(one)
        return None

    def _take_below_limit(self, backend: int) -> Target | None:
        """Counts first and looks then: of two workers that take the last place at once none has it, or one."""
        if not self.limit:
            return self.take(backend)
        self._counts.reserved(backend)
        self._in_flight = self._counts.in_flight(self._size)
        if self._in_flight[backend] > self.limit:
            self._counts.ended(backend)
            return None
        self._counts.counted(backend)
        return self.targets[backend]

    def _below_limit(self, backends: Sequence[int]) -> list[int]:
        limit = self.limit or inf
        return [one for one in backends if self._in_flight[one] < limit]

    @property
    def room(self) -> int:
        """How many requests more there is room for at this moment, of all workers; there is a limit."""
        self._look(self._now())
        return sum(max(self.limit - self._in_flight[one], 0) for one in self._roster.usable)

    def another(self, tried: Container[int]) -> Target | None:
        """One that was not tried yet, for a request that another one has refused; None when there is none."""
        self._look(self._now())
        left = [one for one in self._below_limit(self._roster.usable) if one not in tried]
        while left:
            one = min(left, key=self._in_flight.__getitem__)
            target = self._take_below_limit(one)
            if target is not None:
                return target
            left.remove(one)
        return None

    def has_others(self, tried: Container[int]) -> bool:
        """Whether others than those that were tried get requests, were they as many as they may have."""
        return any(one not in tried for one in self._roster.usable)

    def take(self, backend: int) -> Target:
        """That very one, likewise."""
        self._began(backend)
        self._in_flight[backend] += 1
        return self.targets[backend]

    def _leave(self, backend: int) -> None:
        self._counts.ended(backend)
        if self.on_room is not None:
            self.on_room()

    def _look(self, now: float) -> None:
        roster, counts = self._roster, self._counts
        self._counted_at = now
        if not roster.is_calm or not 0 <= now - self._judged_at < _JUDGED_FOR_S:
            self._judged_at = now
            verdicts = counts.verdicts(self._size)
            if roster.has_news(verdicts):
                roster.judge(verdicts, counts.own, self._clock_us())
        if self.limit:
            counts.look()
        self._in_flight = counts.in_flight(self._size)

    # --- who is left alone --------------------------------------------------------------------------------

    def count_failure(self, target: Target) -> None:
        """Counts a gateway failure of a backend, for those who look."""
        self._counts.failed(target.backend)

    def circuit_of(self, target: Target) -> Circuit:
        """The circuit of a backend, made where there is none yet."""
        return self._roster.circuit_of(target)

    def eject(self, target: Target) -> float:
        """Leaves a backend alone; returns for how many seconds. All workers know it within `_JUDGED_FOR_S`."""
        now_us, backend = self._clock_us(), target.backend
        ejection = self._roster.next_ejection(self._counts.verdicts(self._size).out[backend], now_us)
        self._counts.say_out(backend, ejection.word)
        return (ejection.until_us - now_us) / 1e6

    @property
    def are_down(self) -> bool:
        """Whether the circuit of each is open."""
        return self._roster.are_down
