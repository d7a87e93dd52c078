"""The backends of one version: who is left alone after failures, who proves itself, and what all workers know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from itertools import count
from typing import Any, cast

import pytest

from app.address import Address, Backend
from app.errors import NoActiveVersion
from app.metrics.backend_words import Verdicts
from app.protocol.forwarding import Forwarding
from app.protocol.request import RequestParser
from app.routing.backends import Backends, OwnCounts
from app.routing.choosing import chooser_of
from app.routing.circuit import CircuitState
from app.routing.failover import FailureDetector, state_of
from app.routing.roster import PROOF, Ejection, Policy, Roster
from app.routing.targets import Target
from app.upstream.messages import UpstreamRequest, UpstreamResponse

HEAD = RequestParser(100).parse(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
FORWARDING = Forwarding(b"192.0.2.9", b"http", 5004, 0)
SECOND_US = 1_000_000


def nowhere(request: UpstreamRequest) -> UpstreamResponse:
    raise NoActiveVersion("nothing is sent here")


class Version:
    """A version with so many backends, as one worker sees it; the clock stands until it is moved."""

    def __init__(
        self,
        number: int,
        counts: OwnCounts | None = None,
        threshold: int = 3,
        balance: str = "least",
        limit: int = 0,
        slow_start_s: float = 0,
        drained: Container[int] = (),
        came: dict[Address, float] | None = None,
        now_us: int = 100 * SECOND_US,
    ) -> None:
        self.now_us = now_us
        self.counts = counts or OwnCounts()
        self.came: dict[Address, float] = {} if came is None else came
        places = [Backend(Address("10.0.0.1", port)) for port in range(1, number + 1)]
        self.whole = Target(0, "blue", places[0].address, nowhere)
        targets = [Target(0, "blue", place.address, nowhere) for place in places]
        for index, target in enumerate(targets):
            target.whole, target.backend = self.whole, index
        turns = count()
        roster = Roster(targets, [1] * number, drained, Policy(threshold, 5.0, slow_start_s), self.came)
        self.backends = self.whole.backends = Backends(
            roster,
            *chooser_of(balance, places),
            self.counts,
            limit,
            lambda: float(next(turns)),
            lambda: self.now_us,
        )
        self.opened = 0
        self.detector = FailureDetector(threshold, self._count_opening)

    def _count_opening(self) -> None:
        self.opened += 1

    def pass_s(self, seconds: float) -> None:
        self.now_us += int(seconds * SECOND_US)

    def leave(self, backend: int) -> None:
        leave = self.backends.targets[backend].leave
        assert leave is not None
        leave()

    def pick(self) -> int:
        """The backend of a request that is over at once."""
        backend = self.take().backend
        self.leave(backend)
        return backend

    def take(self) -> Target:
        """The backend of a request that goes on."""
        target = self.backends.pick(HEAD, FORWARDING)
        assert target is not None
        return target

    def picks(self, times: int = 60) -> set[int]:
        return {self.pick() for _ in range(times)}

    def fail(self, backend: int, times: int = 1) -> None:
        for _ in range(times):
            self.detector.failed(self.backends.targets[backend])

    def answer(self, backend: int) -> None:
        target = self.backends.targets[backend]
        if target.circuit is not None:
            self.detector.answered(target, target.circuit)

    def left_alone_s(self, backend: int) -> float:
        return (Ejection.of(self.counts.verdicts(backend + 1).out[backend]).until_us - self.now_us) / 1e6


def test_every_backend_gets_requests() -> None:
    assert Version(4).picks() == {0, 1, 2, 3}


def test_requests_in_flight_count_until_they_are_done() -> None:
    version = Version(3)
    held = [version.take().backend for _ in range(6)]
    assert sorted(held) == [0, 0, 1, 1, 2, 2]
    version.leave(1)
    assert version.take().backend == 1


def test_one_that_fails_is_left_alone_and_then_proves_itself() -> None:
    version = Version(4)
    version.fail(1, times=3)
    assert version.opened == 1
    assert version.picks() == {0, 2, 3}
    assert 4 <= version.left_alone_s(1) <= 6
    version.pass_s(6.1)
    assert version.picks() == {0, 1, 2, 3}
    trial = next(target for _ in count() if (target := version.take()).backend == 1)
    assert version.picks() == {0, 2, 3}, "one at a time"
    version.leave(trial.backend)
    for answers in range(1, PROOF + 1):
        assert (trial.circuit is not None) and trial.circuit.state is CircuitState.HALF_OPEN
        version.answer(1)
        assert (trial.circuit is None) == (answers == PROOF)
    held = {version.take().backend for _ in range(8)}
    assert held == {0, 1, 2, 3}


def test_one_failure_of_one_that_is_to_prove_itself_leaves_it_alone_for_twice_as_long() -> None:
    version = Version(4)
    version.fail(1, times=3)
    for number, longest in enumerate([10, 20, 40, 60, 60], 1):
        version.pass_s(version.left_alone_s(1) + 0.1)
        assert 1 in version.picks()
        version.answer(1)
        version.fail(1)
        assert version.opened == 1 + number
        assert 0.8 * longest - 0.2 <= version.left_alone_s(1) <= 1.2 * longest


def test_one_that_was_well_for_a_minute_begins_anew() -> None:
    version = Version(4)
    version.fail(1, times=3)
    version.pass_s(6.1)
    version.picks()
    for _ in range(PROOF):
        version.answer(1)
    version.pass_s(70)
    version.fail(1, times=3)
    assert version.left_alone_s(1) <= 6


def test_answers_between_failures_keep_it_in() -> None:
    version = Version(3)
    for _ in range(10):
        version.fail(0, times=2)
        for _ in range(3):
            version.answer(0)
    assert version.opened == 0
    assert version.picks() == {0, 1, 2}


def test_one_that_fails_every_other_time_is_left_alone_all_the_same() -> None:
    version = Version(3)
    for _ in range(9):
        version.fail(0)
        version.answer(0)
    assert version.opened == 0, "so few may be chance"
    version.fail(0)
    version.answer(0)
    version.fail(0)
    assert version.opened == 1
    assert version.picks() == {1, 2}


def test_what_one_worker_finds_all_act_by() -> None:
    counts = OwnCounts()
    here, there = Version(4, counts), Version(4, counts)
    assert there.picks() == {0, 1, 2, 3}
    here.fail(2, times=3)
    assert there.picks() == {0, 1, 3}
    there.pass_s(6.1)
    assert 2 in there.picks()
    circuit = there.backends.targets[2].circuit
    assert circuit is not None and circuit.state is CircuitState.HALF_OPEN, "it proves itself in each worker"


def test_when_more_than_half_are_out_all_are_used() -> None:
    version = Version(4)
    version.fail(0, times=3)
    version.fail(1, times=3)
    assert version.picks() == {2, 3}
    version.fail(2, times=3)
    assert version.picks() == {0, 1, 2, 3}


def test_version_is_down_when_its_last_backend_is() -> None:
    version = Version(2)
    version.fail(0, times=3)
    assert state_of(version.whole) is CircuitState.CLOSED
    version.fail(1, times=3)
    assert state_of(version.whole) is CircuitState.OPEN


class Checked:
    """Counts of a worker whose health checks say something, too."""

    unwell: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._counts = OwnCounts()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._counts, name)

    def verdicts(self, count: int) -> Verdicts:
        return self._counts.verdicts(count)._replace(unwell=[int(one in self.unwell) for one in range(count)])


def test_one_whose_health_checks_fail_gets_nothing_until_they_do_not() -> None:
    counts = Checked()
    version = Version(3, cast(OwnCounts, counts))
    counts.unwell = (0, 2)
    assert version.picks() == {1}
    counts.unwell = (0, 1, 2)
    assert version.picks() == {0, 1, 2}, "who else could answer?"
    counts.unwell = ()
    assert version.picks() == {0, 1, 2}


def test_another_is_one_that_was_not_tried() -> None:
    version = Version(3)
    tried = {1}
    while (target := version.backends.another(tried)) is not None:
        assert target.backend not in tried
        tried.add(target.backend)
        version.leave(target.backend)
    assert tried == {0, 1, 2}


@pytest.mark.parametrize("balance", ["least", "round-robin", "hash:client"])
def test_every_way_passes_over_who_is_left_alone(balance: str) -> None:
    version = Version(3, balance=balance)
    version.fail(0, times=3)
    assert 0 not in version.picks()


def test_threshold_of_nothing_leaves_nobody_alone() -> None:
    version = Version(3, threshold=0)
    version.fail(0, times=100)
    assert version.picks() == {0, 1, 2}


# --- those that come, and those that are taken out --------------------------------------------------------------


def share(version: Version, backend: int, requests: int = 90) -> float:
    """What part of so many requests, all in flight at once, a backend has."""
    held = Counter(version.take().backend for _ in range(requests))
    for one, times in held.items():
        for _ in range(times):
            version.leave(one)
    return held[backend] / requests


def test_one_that_comes_back_gets_its_share_little_by_little() -> None:
    version = Version(3, slow_start_s=10)
    assert 0.3 < share(version, 1) < 0.4, "all were there from the beginning"
    version.fail(1, times=3)
    version.pass_s(6.1)
    version.picks()
    for _ in range(PROOF):
        version.answer(1)
    found = []
    for _ in range(5):
        version.pass_s(2)
        found.append(share(version, 1))
    assert found == sorted(found)
    assert found[0] < 0.16
    assert 0.3 < found[-1] < 0.4


def test_one_that_is_new_in_the_state_gets_its_share_little_by_little() -> None:
    came: dict[Address, float] = {}
    Version(2, slow_start_s=10, came=came)
    version = Version(3, slow_start_s=10, came=came)
    assert share(version, 2) < 0.1
    later = Version(3, slow_start_s=10, came=came, now_us=version.now_us + 5 * SECOND_US)
    assert 0.15 < share(later, 2) < 0.25, "another state in the meantime is no new beginning"


def test_one_that_is_drained_gets_nothing_and_begins_anew_after_it() -> None:
    came: dict[Address, float] = {}
    Version(3, slow_start_s=10, came=came)
    assert Version(3, slow_start_s=10, came=came, drained=[0]).picks() == {1, 2}
    assert share(Version(3, slow_start_s=10, came=came), 0) < 0.1


def test_drained_ones_are_used_when_there_are_no_others() -> None:
    assert Version(2, drained=[0, 1]).picks() == {0, 1}


def test_a_drained_one_does_not_count_among_those_that_are_out() -> None:
    version = Version(4, drained=[0])
    version.fail(1, times=3)
    assert version.picks() == {2, 3}
    version.fail(2, times=3)
    assert version.picks() == {1, 2, 3}


# --- a limit ----------------------------------------------------------------------------------------------------


def test_no_backend_has_more_than_its_limit() -> None:
    version = Version(3, limit=2)
    held = [version.take().backend for _ in range(6)]
    assert sorted(held) == [0, 0, 1, 1, 2, 2]
    assert version.backends.room == 0
    assert version.backends.pick(HEAD, FORWARDING) is None
    assert version.backends.another(set()) is None
    version.leave(1)
    assert version.backends.room == 1
    assert version.take().backend == 1


class Racing:
    """Counts among which another worker's request comes up at the very moment when ours is counted."""

    def __init__(self) -> None:
        self._counts = OwnCounts()
        self.elsewhere = [0] * 16

    def __getattr__(self, name: str) -> Any:
        return getattr(self._counts, name)

    def reserved(self, backend: int) -> None:
        self._counts.reserved(backend)
        self.elsewhere[backend] = 1

    def in_flight(self, count: int) -> list[int]:
        return [own + other for own, other in zip(self._counts.own[:count], self.elsewhere, strict=False)]


def test_the_last_place_is_given_back_when_two_workers_have_taken_it() -> None:
    counts = Racing()
    version = Version(2, cast(OwnCounts, counts), limit=1)
    assert version.backends.pick(HEAD, FORWARDING) is None
    assert counts.own[:2] == [0, 0]


def test_who_waits_is_told_of_room() -> None:
    version = Version(2, limit=1)
    told = []
    version.backends.on_room = lambda: told.append(version.backends.room)
    version.take()
    version.leave(version.take().backend)
    assert told == [1]
