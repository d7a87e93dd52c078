"""The backends of one version: which of them a request goes to, and which are left alone for a while.

All workers choose and judge alike: what each has in flight on a backend, and how long a backend is left alone, stands
in the shared metrics (`app.metrics.backend_words`), and is added up once for each turn of the event loop. A version
with one backend has none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from logging import getLogger
from math import inf
from random import uniform
from time import monotonic_ns
from typing import NamedTuple, Protocol

from app.address import MAX_BACKENDS, Address
from app.metrics.backend_rows import TIMES_BITS
from app.metrics.backend_words import Verdicts
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestHead
from app.routing.choosing import Chooser, KeyOf
from app.routing.circuit import Circuit, CircuitState
from app.routing.targets import Target

__all__ = ["PROOF", "Backends", "Counts", "Ejection", "OwnCounts"]

logger = getLogger(__name__)

PROOF = 3
"""So many answers in a row, to one request at a time, and a backend that was left alone has all its requests again."""

MAX_EJECTION_S = 60.0
_SPREAD = 0.2
"""Backends that fell at one moment do not come back at one moment."""

_JUDGED_FOR_S = 0.01
"""What other workers have found out is heard this much later at most; until then a request may try for itself."""

_MOST_TIMES = (1 << TIMES_BITS) - 1


class Counts(Protocol):
    """What the workers know of the backends; `app.metrics.backend_words.BackendWords` in a worker."""

    @property
    def own(self) -> list[int]:
        """This worker's requests in flight, by backend."""

    def name(self, addresses: Iterable[Address]) -> None:
        """Says which backends these are, in their order."""

    def began(self, backend: int) -> None:
        """One more request of this worker is in flight on a backend."""

    def ended(self, backend: int) -> None:
        """One less."""

    def failed(self, backend: int) -> None:
        """One more gateway failure of a backend."""

    def say_out(self, backend: int, word: int) -> None:
        """Says how long a backend is left alone."""

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

    def began(self, backend: int) -> None:
        """One more."""
        self.own[backend] += 1

    def ended(self, backend: int) -> None:
        """One less."""
        self.own[backend] -= 1

    def failed(self, backend: int) -> None:
        """Nobody asks how often."""

    def say_out(self, backend: int, word: int) -> None:
        """Notes it."""
        self._out[backend] = word

    def in_flight(self, count: int) -> list[int]:
        """As many as this process has."""
        return self.own[:count]

    def verdicts(self, count: int) -> Verdicts:
        """What was noted."""
        return Verdicts(self._out[:count], [0] * count)


class Ejection(NamedTuple):
    """That a backend is left alone until a moment, monotonic µs, for the so manyth time in a row."""

    until_us: int
    times: int

    @classmethod
    def of(cls, word: int) -> Ejection:
        """What a word of the shared metrics says."""
        return cls(word >> TIMES_BITS, word & _MOST_TIMES)

    @property
    def word(self) -> int:
        """As a word: the later one is the larger one."""
        return self.until_us << TIMES_BITS | min(self.times, _MOST_TIMES)

    def next(self, now_us: int, first_s: float) -> Ejection:
        """The one that follows: twice as long as this one, or as the first when it has been well for a minute."""
        times = self.times + 1 if now_us < self.until_us + MAX_EJECTION_S * 1e6 else 1
        seconds = min(first_s * 2 ** (times - 1), MAX_EJECTION_S) * uniform(1 - _SPREAD, 1 + _SPREAD)
        return Ejection(now_us + int(seconds * 1e6), times)


class Backends:
    """The choice among one version's backends, and its memory of who has failed.

    Args:
        targets: one for each backend, in order.
        choose, key_of: see `app.routing.choosing.chooser_of`.
        counts: what all workers know.
        threshold: failures in a row after which a backend is left alone; 0 is never.
        eject_s: for how long, the first time.
        now: seconds, the same for a whole turn of the event loop.
        clock_us: monotonic µs.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        choose: Chooser,
        key_of: KeyOf | None,
        counts: Counts,
        threshold: int,
        eject_s: float,
        now: Callable[[], float],
        clock_us: Callable[[], int] = lambda: monotonic_ns() // 1000,
    ) -> None:
        self.targets: Sequence[Target] = targets
        self._choose = choose
        self._key_of = key_of
        self._counts = counts
        self._threshold = threshold
        self._eject_s = eject_s
        self._now = now
        self._clock_us = clock_us
        self._all = tuple(range(len(targets)))
        self._usable: Sequence[int] = self._all
        self._in_flight = [0] * len(targets)
        self._counted_at = self._judged_at = -inf
        self._out = [0] * len(targets)  # as last seen, and taken up
        self._is_calm = True
        for target in targets:
            target.leave = partial(self._done, target.backend)

    # --- the choice ---------------------------------------------------------------------------------------

    def pick(self, head: RequestHead, forwarding: Forwarding) -> Target:
        """The backend for a request, on which it counts as in flight from now on, until `leave` of the target."""
        now = self._now()
        if now != self._counted_at or not self._is_calm:
            self._look(now)
        key = b"" if self._key_of is None else self._key_of(head, lambda: forwarding.client_address(head))
        return self.take(self._choose(self._in_flight, self._usable, key))

    def another(self, tried: Container[int]) -> Target | None:
        """One that was not tried yet, for a request that another one has refused; None when there is none."""
        self._look(self._now())
        left = [one for one in self._usable if one not in tried]
        return self.take(min(left, key=self._in_flight.__getitem__)) if left else None

    def take(self, backend: int) -> Target:
        """That very one, likewise."""
        self._counts.began(backend)
        self._in_flight[backend] += 1
        return self.targets[backend]

    def _done(self, backend: int) -> None:
        self._counts.ended(backend)
        self._in_flight[backend] -= 1

    def _look(self, now: float) -> None:
        count = len(self._all)
        self._counted_at = now
        if not self._is_calm or not 0 <= now - self._judged_at < _JUDGED_FOR_S:
            self._judged_at = now
            verdicts = self._counts.verdicts(count)
            if not self._is_calm or verdicts.out != self._out or any(verdicts.unwell):
                self._judge(verdicts)
        self._in_flight = self._counts.in_flight(count)

    # --- who is left alone --------------------------------------------------------------------------------

    def _judge(self, said: Verdicts) -> None:
        now_us = self._clock_us()
        usable, out, unwell = [], 0, 0
        for one, target in enumerate(self.targets):
            word = said.out[one]
            is_out = word >> TIMES_BITS > now_us
            if word != self._out[one]:
                self._out[one] = word
                if is_out:
                    self.circuit_of(target).open()
            circuit = target.circuit
            if said.unwell[one]:
                unwell += 1
            elif is_out:
                out += 1
            elif circuit is None or circuit.state is CircuitState.CLOSED or self._may_prove(one, circuit):
                usable.append(one)
        if 2 * out > len(self._all):  # as many cannot be wrong; it is somebody else's fault
            usable = [one for one in self._all if not said.unwell[one]]
        self._usable = tuple(usable) or self._all
        self._is_calm = not (out or unwell) and all(target.circuit is None for target in self.targets)

    def _may_prove(self, one: int, circuit: Circuit) -> bool:
        circuit.try_again()
        return not self._counts.own[one]

    def count_failure(self, target: Target) -> None:
        """Counts a gateway failure of a backend, for those who look."""
        self._counts.failed(target.backend)

    def circuit_of(self, target: Target) -> Circuit:
        """The circuit of a backend, made where there is none yet."""
        if target.circuit is None:
            target.circuit = Circuit(self._threshold, proof=PROOF)
            self._is_calm = False
        return target.circuit

    def eject(self, target: Target) -> float:
        """Leaves a backend alone; returns for how many seconds. All workers know it within `_JUDGED_FOR_S`."""
        now_us, backend = self._clock_us(), target.backend
        before = Ejection.of(self._counts.verdicts(len(self._all)).out[backend])
        ejection = before.next(now_us, self._eject_s)
        self._counts.say_out(backend, ejection.word)
        return (ejection.until_us - now_us) / 1e6

    @property
    def are_down(self) -> bool:
        """Whether the circuit of each is open."""
        return all(target.circuit is not None and target.circuit.is_open for target in self.targets)
