"""Which backends of a version get requests at this moment, and what share each: who is left alone, who comes back."""

from __future__ import annotations

from collections.abc import Container, MutableMapping, Sequence
from math import inf
from random import uniform
from typing import NamedTuple

from app.address import Address
from app.metrics.backend_rows import TIMES_BITS
from app.metrics.backend_words import Verdicts
from app.routing.circuit import Circuit, CircuitState
from app.routing.targets import Target

__all__ = ["PROOF", "Ejection", "Policy", "Roster"]

PROOF = 3
"""So many answers in a row, to one request at a time, and a backend that was left alone has its share again."""

MAX_EJECTION_S = 60.0
_SPREAD = 0.2
"""Backends that fell at one moment do not come back at one moment."""

FIRST_SHARE = 0.1
"""What a backend that has just come gets of its share, where `slow_start` is set."""

_MOST_TIMES = (1 << TIMES_BITS) - 1


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


class Policy(NamedTuple):
    """How backends are judged.

    Attributes:
        threshold: failures in a row after which one is left alone; 0 is never.
        eject_s: for how long, the first time.
        slow_start_s: how long the share of one that has come, or come back, grows; 0 gives it all of it at once.
    """

    threshold: int
    eject_s: float
    slow_start_s: float = 0.0


class Roster:
    """The judgement of one worker on one version's backends.

    Args:
        targets: one for each backend, in order.
        shares: the weight of each beside the others'.
        drained: the numbers of those that an operator has taken out.
        policy: how they are judged.
        came: since when each address is there, in seconds as `slow_start` counts them; outlives the roster.

    Attributes:
        targets: as given.
        usable: the numbers of those that get requests, never none.
        weights: of all of them, at this moment; None while all have the same.
        is_calm: whether nothing changes by itself, so that others' verdicts need be heard only now and then.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        shares: Sequence[int],
        drained: Container[int],
        policy: Policy,
        came: MutableMapping[Address, float],
    ) -> None:
        self.targets = targets
        self._shares = shares
        self._even = None if len(set(shares)) == 1 else tuple(map(float, shares))
        self._policy = policy
        self._came = came
        self._serving = tuple(one for one in range(len(targets)) if one not in drained) or tuple(range(len(targets)))
        self._out = [0] * len(targets)  # as last seen, and taken up
        self.usable: Sequence[int] = self._serving
        self.weights: Sequence[float] | None = self._even
        # Of those that are there from the beginning, none has come: all have their share.
        begins = -inf if not any(target.address in came for target in targets) else None
        for one, target in enumerate(targets):
            if one not in self._serving:
                came.pop(target.address, None)
            elif begins is not None:
                came[target.address] = begins
        self.is_calm = all(came.get(targets[one].address) == -inf for one in self._serving)

    def has_news(self, said: Verdicts) -> bool:
        """Whether the workers' verdicts ask for a judgement."""
        return not self.is_calm or said.out != self._out or any(said.unwell)

    def judge(self, said: Verdicts, own: Sequence[int], now_us: int) -> None:
        """Works out who gets requests.

        Args:
            said: the verdicts of all workers.
            own: this worker's requests in flight, by backend; one that proves itself has one at a time.
            now_us: monotonic µs.
        """
        usable, out, unwell = [], 0, 0
        for one in self._serving:
            target, word = self.targets[one], said.out[one]
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
            elif circuit is None or circuit.state is CircuitState.CLOSED:
                usable.append(one)
                continue
            elif _may_prove(circuit, own[one]):
                usable.append(one)
            self._came.pop(target.address, None)
        if 2 * out > len(self._serving):  # as many cannot be wrong; it is somebody else's fault
            usable = [one for one in self._serving if not said.unwell[one]]
        self.usable = tuple(usable) or self._serving
        is_growing = self._grow(now_us / 1e6)
        self.is_calm = not (out or unwell or is_growing) and all(target.circuit is None for target in self.targets)

    def _grow(self, now: float) -> bool:
        """Gives those that have come their share of now; returns whether any of them will have more."""
        slow_start_s, weights, is_growing = self._policy.slow_start_s, list(map(float, self._shares)), False
        for one in self.usable:
            address = self.targets[one].address
            age = now - self._came.setdefault(address, now)
            if age < slow_start_s:
                weights[one] *= FIRST_SHARE + (1 - FIRST_SHARE) * age / slow_start_s
                is_growing = True
            else:
                self._came[address] = -inf
        self.weights = weights if is_growing else self._even
        return is_growing

    # --- circuits -----------------------------------------------------------------------------------------

    def circuit_of(self, target: Target) -> Circuit:
        """The circuit of a backend, made where there is none yet."""
        if target.circuit is None:
            target.circuit = Circuit(self._policy.threshold, proof=PROOF, by_share=True)
            self.is_calm = False
        return target.circuit

    def next_ejection(self, word: int, now_us: int) -> Ejection:
        """How long a backend is left alone now, of which all workers have said `word` so far."""
        return Ejection.of(word).next(now_us, self._policy.eject_s)

    @property
    def are_down(self) -> bool:
        """Whether the circuit of each is open."""
        return all((circuit := self.targets[one].circuit) is not None and circuit.is_open for one in self._serving)


def _may_prove(circuit: Circuit, own: int) -> bool:
    circuit.try_again()
    return not own
