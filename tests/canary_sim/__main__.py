"""Simulates rollouts and prints what became of them: `python -m tests.canary_sim [--times N] [--seed S]`.

Ends with 1 when more good releases go back than the bound allows, or most bad ones of a kind are never found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

from tests.canary_sim.scenarios import BAD, FAINT, GOOD, REQUESTS_OF_CLIENTS, RIVALS, Scenario
from tests.canary_sim.simulation import Result, most_by_chance, simulate


def _run(scenario: Scenario, times: int, seed: int) -> Result:
    return simulate(scenario.make, scenario.world, scenario.release, times, most_s=scenario.most_s, seed=seed)


def _all(pool: Executor, scenarios: Iterable[Scenario], times: int, seed: int) -> Iterator[tuple[Scenario, Result]]:
    ones = list(scenarios)
    yield from zip(ones, pool.map(_run, ones, [times] * len(ones), [seed] * len(ones)), strict=True)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _s(seconds: float | None) -> str:
    return "—" if seconds is None else f"{seconds:.0f} s"


def _good(pool: Executor, times: int, seed: int) -> bool:
    most, are_well = most_by_chance(times, 0.01), True
    _say(f"\n| {times} good releases | rolled back | promoted | inconclusive | promoted after |\n|---|--:|--:|--:|--:|")
    for scenario, result in _all(pool, [*GOOD, REQUESTS_OF_CLIENTS], times, seed):
        back = result.ends["back"]
        are_well = are_well and (back <= most or scenario is REQUESTS_OF_CLIENTS)
        _say(
            f"| {scenario.name} | {back} | {result.ends['promote']} | {result.ends['inconclusive']} "
            f"| {_s(result.median_s('promote'))} |",
        )
    return are_well


def _bad(pool: Executor, times: int, seed: int) -> bool:
    are_found = True
    _say("\n| bad release | rolled back | median | worked out before |\n|---|--:|--:|--:|")
    for scenario, result in _all(pool, [*BAD, *FAINT], times, seed):
        median = result.median_s("back")
        if scenario.designed_s is not None and median is None:
            are_found = False
        _say(f"| {scenario.name} | {result.share('back'):.0%} | {_s(median)} | {_s(scenario.designed_s)} |")
    return are_found


def _rivals(pool: Executor, times: int, seed: int) -> None:
    _say("\n| release | " + " | ".join(one.name for one in RIVALS[0][1]) + " |\n|---|--:|--:|--:|")
    for name, scenarios in RIVALS:
        cells = [
            f"{result.share('back'):.0%} back, {_s(result.median_s('back'))}"
            for _, result in _all(pool, scenarios, times, seed)
        ]
        _say(f"| {name} | {' | '.join(cells)} |")


def main() -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="make canary-sim", description=__doc__)
    parser.add_argument("--times", type=int, default=500, help="good releases of each kind")
    parser.add_argument("--bad", type=int, default=200, help="bad ones of each kind")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        is_well = _good(pool, given.times, given.seed)
        is_well = _bad(pool, given.bad, given.seed) and is_well
        _rivals(pool, given.bad // 2, given.seed)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
