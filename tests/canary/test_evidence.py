"""The evidence against rational arithmetic, and that it is an e-process: fair at the edge, less than that within it."""

from __future__ import annotations

import json
from fractions import Fraction
from math import comb, exp, inf, isclose, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.canary.evidence import AGAINST, FOR, HARMLESS_RATE, CanaryEvidence, Process, Suspicion, log_weight_of
from app.canary.outcomes import Outcomes, Pair

Stratum = tuple[int, int, int]


def chances(stratum: Stratum, odds: Fraction) -> dict[int, Fraction]:
    """How likely each count of events at the canary is, exactly."""
    canary, stable, events = stratum
    weights = {
        at: comb(canary, at) * comb(stable, events - at) * odds**at
        for at in range(max(0, events - stable), min(canary, events) + 1)
    }
    total = sum(weights.values())
    return {at: weight / total for at, weight in weights.items()}


def log_of(number: Fraction) -> float:
    return log(number.numerator) - log(number.denominator)


@st.composite
def strata(draw: st.DrawFn, most: int = 60) -> Stratum:
    canary, stable = draw(st.integers(1, most)), draw(st.integers(1, most))
    return canary, stable, draw(st.integers(1, canary + stable - 1))


odds = st.fractions(Fraction(1, 100), 200, max_denominator=100)


@given(strata(), odds, st.data())
def test_a_chance_is_what_rational_arithmetic_gives(stratum: Stratum, odds: Fraction, data: st.DataObject) -> None:
    exact = chances(stratum, odds)
    at = data.draw(st.sampled_from(sorted(exact)))
    assert isclose(log_weight_of(*stratum, at, float(odds)), -log_of(exact[at]), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("stratum", "at"),
    [
        pytest.param((2_000, 3_000, 2_500), 0, id="far below what is likely"),
        pytest.param((2_000, 3_000, 2_500), 2_000, id="far above what is likely"),
        pytest.param((3_000, 20, 3_000), 2_985, id="hardly any stable ones"),
    ],
)
def test_sums_beyond_a_float_are_exact(stratum: Stratum, at: int) -> None:
    for odds in (Fraction(5, 4), Fraction(125)):
        exact = -log_of(chances(stratum, odds)[at])
        assert isclose(log_weight_of(*stratum, at, float(odds)), exact, rel_tol=1e-9)


@pytest.mark.parametrize("suspicion", [AGAINST, FOR], ids=["against", "for"])
@given(stratum=strata(12), known=st.tuples(*[st.floats(-3, 3)] * 8), data=st.data())
def test_no_second_is_expected_to_raise_the_evidence_of_the_harmless(
    suspicion: Suspicion, stratum: Stratum, known: tuple[float, ...], data: st.DataObject
) -> None:
    process = Process(known[: len(suspicion.factors)])
    edge = Fraction(suspicion.edge)
    beyond = data.draw(st.fractions(Fraction(1, 10), 1, max_denominator=20))
    for truth in (edge, edge * beyond if suspicion is AGAINST else edge / beyond):
        canary, stable, events = stratum
        expected = sum(
            float(chance) * exp(process.seen(suspicion, (canary, at), (stable, events - at)).log_value)
            for at, chance in chances(stratum, truth).items()
        )
        assert expected <= exp(process.log_value) * (1 + 1e-9)


@pytest.mark.parametrize("seconds", [((0, 0), (9, 3)), ((4, 1), (0, 0)), ((4, 0), (9, 0)), ((4, 4), (9, 9))])
def test_a_second_without_a_contrast_says_nothing(seconds: tuple[tuple[int, int], tuple[int, int]]) -> None:
    begun = Process.begun(AGAINST)
    assert begun.seen(AGAINST, *seconds) is begun


def seen(second: Pair, times: int) -> CanaryEvidence:
    evidence = CanaryEvidence()
    for _ in range(times):
        evidence = evidence.seen(second)
    return evidence


def test_it_begins_at_one_and_a_worse_canary_raises_it() -> None:
    assert isclose(CanaryEvidence().value, 1)
    assert isclose(CanaryEvidence().proof, 1)
    assert seen(Pair(Outcomes(50, 5, 25, 3), Outcomes(950, 5, 475, 48)), 5).value > 100


def test_an_outage_of_what_both_use_raises_nothing() -> None:
    assert seen(Pair(Outcomes(50, 25, 25, 3), Outcomes(950, 475, 475, 48)), 100).value < 1


def test_evidence_beyond_a_float_is_infinite_and_goes_on() -> None:
    evidence = seen(Pair(Outcomes(500, 500, 500, 500), Outcomes(500, 0, 0, 0)), 5)
    assert evidence.value == inf == evidence.against[0].value
    assert evidence.seen(Pair(Outcomes(500, 500), Outcomes(500, 0))).log_value > evidence.log_value


def test_a_release_that_never_fails_proves_itself_though_none_before_it_failed() -> None:
    good = Pair(Outcomes(50, 0, 25, 3), Outcomes(50, 0, 25, 3))
    assert seen(good, 10).proof < 20 < seen(good, 25).proof


def test_what_proves_is_the_weakest_measure() -> None:
    assert seen(Pair(Outcomes(50, 0, 40, 3), Outcomes(50, 0, 25, 3)), 100).proof < 1


def test_few_failures_are_fair_at_the_edge_of_what_is_harmless() -> None:
    def factor(failed: int) -> float:
        return exp(CanaryEvidence().seen(Pair(Outcomes(1, failed), Outcomes())).few_fail)

    assert isclose(HARMLESS_RATE * factor(1) + (1 - HARMLESS_RATE) * factor(0), 1)


def test_it_comes_out_of_json_as_it_went_in() -> None:
    evidence = seen(Pair(Outcomes(50, 5, 21, 3), Outcomes(950, 6, 475, 41)), 7)
    assert CanaryEvidence.read(json.loads(json.dumps(evidence.as_json()))) == evidence
