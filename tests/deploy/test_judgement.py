"""The judgement of a watch: tables, the exact sums, and its error bound in simulations with fixed seeds."""

from __future__ import annotations

from fractions import Fraction
from math import comb
from random import Random

import pytest

from app.deploy.judge.judgement import BOUND, Looks, Share, Verdict, chance, exceeds, failures_for_proof, judge

WELL = Share(0, 1000)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (Share(8, 100), Share(54, 238), Verdict.WORSE),
        (Share(8, 100), Share(19, 238), Verdict.NO_WORSE),
        (Share(8, 100), Share(22, 238), Verdict.MORE),
        (Share(8, 100), Share(40, 238), Verdict.DOUBTFUL),
        (WELL, Share(0, 0), Verdict.UNSEEN),
        (WELL, Share(1, 3), Verdict.DOUBTFUL),
        (WELL, Share(4, 4), Verdict.DOUBTFUL),
        (WELL, Share(5, 5), Verdict.WORSE),
        (WELL, Share(30, 3000), Verdict.NO_WORSE),
        (WELL, Share(60, 3000), Verdict.WORSE),
        (Share(300, 1000), Share(310, 1000), Verdict.MORE),
        (Share(300, 1000), Share(500, 1000), Verdict.WORSE),
        (Share(0, 0), Share(6, 100), Verdict.MORE),
        (Share(0, 0), Share(20, 100), Verdict.WORSE),
        (Share(1000, 1000), Share(1000, 1000), Verdict.NO_WORSE),
        (Share(1_000_000, 10_000_000), Share(1_010_000, 10_000_000), Verdict.WORSE),
    ],
)
def test_what_the_figures_say_at_the_end(before: Share, after: Share, verdict: Verdict) -> None:
    assert judge(before, after, Looks.last()) is verdict


def test_chance_is_the_exact_sum() -> None:
    """Against whole numbers without a logarithm: some hundred pairs of samples."""
    random = Random(13)
    for _ in range(300):
        before = Share(random.randint(0, 20), random.randint(50, 120))
        after = Share(random.randint(1, 30), random.randint(30, 90))
        n, bad, drawn = before.requests + after.requests, before.failed + after.failed, after.requests
        most = min(bad, drawn)
        ways = sum(comb(bad, k) * comb(n - bad, drawn - k) for k in range(after.failed, most + 1))
        fisher = Fraction(ways, comb(n, drawn))
        hundredth = Fraction(1, 100)
        tail = sum(
            comb(drawn, k) * hundredth**k * (1 - hundredth) ** (drawn - k) for k in range(after.failed, drawn + 1)
        )
        found = chance(before, after)
        if after.part > max(before.part, 0.01):
            assert found == pytest.approx(float(max(fisher, tail)), rel=1e-9)
        else:
            assert found == 1.0


def test_the_parts_of_all_looks_are_no_more_than_the_bound() -> None:
    looks = Looks()
    assert sum(looks.level(requests) for requests in range(2_000_000)) + Looks.last() <= BOUND


def test_more_looks_need_more_requests() -> None:
    looks = Looks()
    assert looks.level(4) == 0.0
    assert looks.level(40) > 0
    assert looks.level(59) == 0.0
    assert looks.level(60) > 0


@pytest.mark.parametrize(("rate", "before", "after"), [(0.08, 100, 240), (0.3, 400, 300), (0.01, 1000, 900)])
def test_a_release_that_is_no_worse_is_seldom_given_up(rate: float, before: int, after: int) -> None:
    """Looked at after each request, which is more often than any watch does."""
    random, watches = Random(before), 1000
    given_up = sum(_is_given_up(random, (before, rate), (after, rate)) for _ in range(watches))
    assert given_up <= watches * BOUND


@pytest.mark.parametrize(("rates", "sizes"), [((0.08, 0.227), (100, 238)), ((0.0, 0.05), (500, 300))])
def test_a_release_that_is_worse_is_given_up(rates: tuple[float, float], sizes: tuple[int, int]) -> None:
    random, watches = Random(238), 200
    given_up = sum(_is_given_up(random, (sizes[0], rates[0]), (sizes[1], rates[1])) for _ in range(watches))
    assert given_up >= watches * 0.7


def _is_given_up(random: Random, before: tuple[int, float], after: tuple[int, float]) -> bool:
    old = Share(sum(random.random() < before[1] for _ in range(before[0])), before[0])
    looks, failed = Looks(), 0
    for requests in range(1, after[0] + 1):
        failed += random.random() < after[1]
        level = looks.level(requests)
        if level and judge(old, Share(failed, requests), level) is Verdict.WORSE:
            return True
    return judge(old, Share(failed, after[0]), Looks.last()) is Verdict.WORSE


@pytest.mark.parametrize("before", [Share(8, 100), WELL, Share(0, 0), Share(90, 100), Share(100, 100)])
@pytest.mark.parametrize("requests", [0, 4, 5, 30, 238])
def test_what_a_proof_needs_is_where_the_verdict_turns(before: Share, requests: int) -> None:
    proofs = [n for n in range(requests + 1) if judge(before, Share(n, requests), Looks.last()) is Verdict.WORSE]
    assert failures_for_proof(before, requests) == (proofs[0] if proofs else None)
    assert proofs == list(range(proofs[0], requests + 1)) if proofs else True


def test_a_ceiling_needs_no_proof_but_some_failures() -> None:
    assert exceeds(Share(8, 100), Share(14, 100), 0.05)
    assert not exceeds(Share(8, 100), Share(13, 100), 0.05)
    assert not exceeds(Share(0, 100), Share(4, 4), 0.05)
    assert exceeds(Share(0, 0), Share(5, 50), 0.05)


def test_fewer_failures_than_tolerated_are_all_by_chance() -> None:
    assert chance(Share(100, 1000), Share(1, 1000)) == 1.0
