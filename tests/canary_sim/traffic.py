"""Simulated traffic of two versions: what both suffer together, and what only the canary does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from app.canary.outcomes import Outcomes, Pair

DAY_S = 86_400


@dataclass(frozen=True)
class World:
    """What the requests of both versions meet.

    Attributes:
        rate_per_s: on average; over the day it goes up and down by half.
        errors: the share of requests that fail in a calm moment.
        sigma: the spread of the logarithm of their times.
        outages_per_hour: of what both versions use: a third of all requests fails, for 5 to 40 seconds.
        slow_per_hour: phases in which all requests take twice as long, as long as that.
        clients: 0 where each request is by itself; else so many clients make them, of whom some are `broken`.
        counts_requests: of such clients each request counts, and not each client once.
    """

    rate_per_s: float = 100.0
    errors: float = 0.002
    sigma: float = 0.6
    outages_per_hour: float = 12.0
    slow_per_hour: float = 12.0
    is_calm: bool = False
    clients: int = 0
    broken: float = 0.02
    counts_requests: bool = False


@dataclass(frozen=True)
class Release:
    """What a canary does otherwise: so many of its requests fail, and they take so many times as long."""

    errors: float | None = None
    slower: float = 1.0
    odds: float = 1.0
    """By what factor its odds to fail are higher, whatever they are at the moment."""


@dataclass(frozen=True)
class Moment:
    """One second: what fails and how long it takes, in the unit of the stable version's calm median."""

    rate_per_s: float
    errors: float
    slower: float


def moments(world: World, random: Random) -> Iterator[Moment]:
    """Second after second, from some time of the day on."""
    at_s, outage_s, slow_s = random.random() * DAY_S, 0.0, 0.0
    while True:
        at_s += 1
        outage_s, slow_s = outage_s - 1, slow_s - 1
        if world.is_calm:
            yield Moment(world.rate_per_s, world.errors, 1.0)
            continue
        if random.random() < world.outages_per_hour / 3_600:
            outage_s = random.uniform(5, 40)
        if random.random() < world.slow_per_hour / 3_600:
            slow_s = random.uniform(5, 40)
        wave = math.sin(2 * math.pi * at_s / DAY_S) + 0.3 * math.sin(2 * math.pi * at_s / 300)
        rate = world.rate_per_s * (1 + 0.5 * wave)
        errors = 0.3 if outage_s > 0 else world.errors * (1 + 0.5 * math.sin(2 * math.pi * at_s / 1_700))
        yield Moment(rate, errors, 2.0 if slow_s > 0 else 1.0)


def chances(moment: Moment, release: Release, world: World) -> tuple[float, float, float]:
    """How likely one request fails, takes longer than the calm median, and longer than the calm 95th percentile."""
    odds = moment.errors / (1 - moment.errors) * release.odds
    errors = odds / (1 + odds)
    if release.errors is not None:
        errors = max(errors, release.errors)
    later = math.log(moment.slower * release.slower) / world.sigma
    return errors, _beyond(-later), _beyond(1.644854 - later)


def _beyond(x: float) -> float:
    return 0.5 * math.erfc(x / math.sqrt(2))


class Independent:
    """Each request is drawn by itself."""

    def __init__(self, world: World, release: Release, random: Random) -> None:
        self._world, self._release, self._random = world, release, random
        self._moments = moments(world, random)
        self.slower = 1.0

    def second(self, weight: int) -> Pair:
        """What comes to its end in the next second when the canary has this weight."""
        moment, random = next(self._moments), self._random
        self.slower = moment.slower
        total = poisson(random, moment.rate_per_s)
        canary = binomial(random, total, weight / 10_000)
        return Pair(
            self._arm(canary, chances(moment, self._release, self._world)),
            self._arm(total - canary, chances(moment, Release(), self._world)),
        )

    def _arm(self, number: int, chance: tuple[float, float, float]) -> Outcomes:
        failed, slow50, slow95 = chance
        slow = binomial(self._random, number, slow50)
        return Outcomes(
            number, binomial(self._random, number, failed), slow, binomial(self._random, slow, slow95 / slow50)
        )


class Clients:
    """Each client stays with its version; each counts once in a step, as `app.metrics.split_clients` counts it.

    That is with its first failure, its tenth request, or half a minute after its first, whose time is its time.
    """

    def __init__(self, world: World, release: Release, random: Random) -> None:
        self._world, self._release, self._random = world, release, random
        self._moments = moments(world, random)
        self.slower = 1.0
        self._place = [random.random() for _ in range(world.clients)]
        self._is_broken = [random.random() < world.broken for _ in range(world.clients)]
        self._weight = 0
        self._known: dict[int, list[int]] = {}
        self._began: dict[int, int] = {}
        self._settled: set[int] = set()
        self._second = 0

    def second(self, weight: int) -> Pair:
        """Of which clients it is known after the next second how they fare."""
        if weight != self._weight:
            self._weight, self._known, self._began, self._settled = weight, {}, {}, set()
        moment, random = next(self._moments), self._random
        self.slower = moment.slower
        versions = [chances(moment, one, self._world) for one in (self._release, Release())]
        for _ in range(poisson(random, moment.rate_per_s)):
            client = int(random.random() * self._world.clients)
            if client in self._settled:
                continue  # it has had its say
            failed, slow50, slow95 = versions[self._version(client)]
            took = random.random()
            row = self._known.setdefault(client, [0, 0, 0, 0])
            self._began.setdefault(client, self._second)
            row[0] += 1
            row[1] += self._is_broken[client] or random.random() < failed
            if row[0] == 1 or self._world.counts_requests:
                row[2] += took < slow50
                row[3] += took < slow95
        self._second += 1
        return self._settle()

    def _version(self, client: int) -> int:
        return 0 if self._place[client] * 10_000 < self._weight else 1

    def _settle(self) -> Pair:
        sums = [[0, 0, 0, 0], [0, 0, 0, 0]]
        counts_requests = self._world.counts_requests
        for client in [client for client, row in self._known.items() if counts_requests or self._is_known(client, row)]:
            row = self._known.pop(client)
            of = sums[self._version(client)]
            for at, more in enumerate(row if counts_requests else map(bool, row)):
                of[at] += more
            if not counts_requests:
                self._settled.add(client)
        return Pair(Outcomes(*sums[0]), Outcomes(*sums[1]))

    def _is_known(self, client: int, row: list[int]) -> bool:
        return row[1] > 0 or row[0] >= 10 or self._second - self._began[client] >= 30


def traffic(world: World, release: Release, random: Random) -> Independent | Clients:
    """The traffic of a rollout."""
    return (Clients if world.clients else Independent)(world, release, random)


def binomial(random: Random, number: int, chance: float) -> int:
    """How many of so many happen; by the gaps between them, so that it takes as long as there are such."""
    if chance > 0.5:
        return number - binomial(random, number, 1 - chance)
    if chance <= 0 or number == 0:
        return 0
    happened, at, scale = 0, 0, math.log1p(-chance)
    while True:
        at += int(math.log(1 - random.random()) / scale) + 1
        if at > number:
            return happened
        happened += 1


def poisson(random: Random, mean: float) -> int:
    """How many come in a second; a normal one where there are many."""
    if mean > 60:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), random.random(), 0
    while product > limit:
        product *= random.random()
        count += 1
    return count
