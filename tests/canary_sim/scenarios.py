"""What is simulated: good releases, which shall be promoted, and bad ones, which shall be found soon."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from tests.canary_sim.rules import Argo, Flagger, Judge, Kind, ours
from tests.canary_sim.traffic import Release, World


class Scenario(NamedTuple):
    """Rollouts of one kind; `designed_s` is the median time that was worked out for it beforehand."""

    name: str
    make: Callable[[], Judge]
    world: World
    release: Release = Release()
    most_s: int = 3_600
    designed_s: float | None = None


_CALM: Final = World(is_calm=True)
_FAILS_ALREADY: Final = World(is_calm=True, errors=0.01)
_SLOWLY: Final = World(is_calm=True, errors=0.01, rate_per_s=10.0)
_KEPT: Final = World(clients=2_000)
_FEW_KEPT: Final = World(clients=400)


def _ours(weight: int | None = None, *, is_sticky: bool = False, rate_per_s: float = 100.0) -> Callable[[], Judge]:
    return partial(ours, Kind(is_sticky, weight), rate_per_s)


GOOD: Final = (
    Scenario("each request by itself", _ours(), World()),
    Scenario("the same at 10 requests a second", _ours(rate_per_s=10.0), World(rate_per_s=10.0)),
    Scenario("2,000 clients that stay", _ours(is_sticky=True), _KEPT),
    Scenario("400 clients that stay, 2 % of them broken", _ours(is_sticky=True), _FEW_KEPT),
    Scenario("at the edge of the tolerance, 5 % for 15 minutes", _ours(500), _CALM, Release(odds=1.25), 900),
)
"""No worse than stable: who goes back from these is wrong."""

REQUESTS_OF_CLIENTS: Final = Scenario(
    "400 clients that stay, each request counted", _ours(), World(clients=400, counts_requests=True)
)
"""What would come of it if clients that stay were not counted once."""

_WORSE: Final = (
    ("errors 0.2 → 2 %", _CALM, Release(errors=0.02), (51, 17)),
    ("errors 1 → 5 %", _FAILS_ALREADY, Release(errors=0.05), (41, 13)),
    ("1.5 × the time", _CALM, Release(slower=1.5), (12, 5)),
    ("2 × the time", _CALM, Release(slower=2.0), (4, 2)),
)

BAD: Final = tuple(
    Scenario(f"{name}, at {weight // 100} %", _ours(weight), world, release, 3_600, designed)
    for name, world, release, both in _WORSE
    for weight, designed in zip((500, 2_500), both, strict=True)
)
"""Worse than stable; what counts is how long it takes."""

FAINT: Final = tuple(
    Scenario(f"errors 1 → 2 % at 10 requests a second, {weight // 100} %", _ours(weight), _SLOWLY, release, 900)
    for weight in (500, 2_500)
    for release in (Release(errors=0.02),)
)
"""Too little to be found in 15 minutes."""

_RULES: Final = (("ours", _ours()), ("Flagger", Flagger), ("Argo", Argo))

_TRIALS: Final = (
    ("good", World(), Release()),
    ("good, 1.5 % fail always", World(errors=0.015), Release()),
    ("errors 0.2 → 0.8 %", World(), Release(errors=0.008)),
    ("errors 0.2 → 2 %", World(), Release(errors=0.02)),
    ("errors 0.2 → 10 %", World(), Release(errors=0.10)),
    ("1.5 × the time", World(), Release(slower=1.5)),
    ("2 × the time", World(), Release(slower=2.0)),
)

RIVALS: Final = tuple(
    (name, tuple(Scenario(rule, make, world, release, 7_200) for rule, make in _RULES))
    for name, world, release in _TRIALS
)
"""The same traffic, judged by different rules."""
