"""What a rollout does next: each rule by itself, and what goes before what."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.canary.course import Course, Step
from app.canary.outcomes import Outcomes, Pair
from app.canary.policy import Decision, Ruling, judge
from app.canary.rollout import Glance, Rollout
from app.canary.rollout_text import figures, sentence

COURSE = Course((Step(500, 60.0), Step(5_000, 60.0)), warm_up_s=0)

GOOD = Pair(Outcomes(20, 0, 10, 1), Outcomes(80, 1, 40, 4))
FAILING = Pair(Outcomes(20, 2, 10, 1), Outcomes(80, 0, 40, 4))
SLOW = Pair(Outcomes(20, 0, 18, 8), Outcomes(80, 1, 40, 4))
BROKEN = Pair(Outcomes(20, 15, 10, 1), Outcomes(80, 0, 40, 4))
NONE = Pair()


class Followed:
    """A rollout that is looked at every second."""

    def __init__(self, course: Course = COURSE) -> None:
        self.verdict = Ruling(Rollout(course), Decision.WAIT, "")
        self.at_s = 0.0
        self.counts = Pair()

    def look(self, more: Pair = GOOD, **how: Any) -> Ruling:
        self.at_s += 1
        self.counts = self.counts.plus(more)
        look = Glance(self.at_s, self.counts)._replace(**how)
        # As a conductor that is killed and goes on: all that it knows has been written down.
        rollout = Rollout.read(json.loads(json.dumps(self.verdict.rollout.as_json())))
        assert rollout == self.verdict.rollout
        self.verdict = judge(rollout, look)
        return self.verdict

    def until(self, more: Pair, ends: Callable[[Ruling], bool], most: int = 2_000, **how: Any) -> Ruling:
        for _ in range(most):
            if ends(self.look(more, **how)):
                return self.verdict
        raise AssertionError(self.verdict)


def is_no_wait(verdict: Ruling) -> bool:
    return verdict.decision is not Decision.WAIT


def acts(verdict: Ruling) -> bool:
    return verdict.decision not in {Decision.WAIT, Decision.HOLD}


def test_a_good_release_goes_up_step_by_step_and_is_promoted() -> None:
    rollout = Followed()
    assert rollout.until(GOOD, acts).decision is Decision.STEP
    assert rollout.verdict.reason == "nothing speaks against it, so it gets 50 %"
    assert 60 <= rollout.at_s <= 62
    assert rollout.verdict.rollout.weight == 5_000
    assert rollout.until(GOOD, acts).decision is Decision.PROMOTE
    assert 120 <= rollout.at_s <= 123


@pytest.mark.parametrize(("what", "most_s"), [(FAILING, 20), (SLOW, 20)], ids=["failing", "slow"])
def test_what_is_worse_goes_back(what: Pair, most_s: float) -> None:
    rollout = Followed()
    assert rollout.until(what, acts).decision is Decision.BACK
    assert rollout.at_s < most_s
    assert rollout.verdict.reason == "the evidence against it is enough"


def test_evidence_alone_is_no_reason_where_the_difference_matters_to_nobody() -> None:
    rollout = Followed()
    hardly = Pair(Outcomes(10_000, 40, 5_000, 500), Outcomes(10_000, 10, 5_000, 500))
    verdict = rollout.until(hardly, is_no_wait)
    assert verdict.decision is Decision.HOLD
    assert verdict.rollout.evidence.value > 100


def test_what_one_client_meets_is_held_and_not_rolled_back() -> None:
    rollout = Followed()
    verdict = rollout.until(FAILING, is_no_wait, clients=2)
    assert verdict.decision is Decision.HOLD
    assert rollout.look(FAILING, clients=3).decision is Decision.BACK


def test_suspicion_holds_it_until_it_is_clear() -> None:
    rollout = Followed()
    while rollout.look(FAILING).rollout.evidence.value < 15:
        pass
    assert rollout.verdict.decision is Decision.WAIT
    odd = rollout.until(NONE, is_no_wait)
    assert odd.decision is Decision.HOLD
    assert "held until it is clear" in odd.reason
    assert rollout.until(GOOD, acts).decision is Decision.STEP


def test_warm_up_is_not_judged() -> None:
    rollout = Followed(COURSE._replace(warm_up_s=30))
    cold = Pair(Outcomes(1, 1, 1, 1), Outcomes(80, 0, 40, 4))
    for _ in range(19):
        assert rollout.look(cold).reason == "it is warming up"
    rollout.look(cold)
    assert rollout.look(GOOD).rollout.judged == GOOD


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"ended": "exit code 1"}, "it has ended (exit code 1)"),
        ({"failed_checks": 3}, "3 health checks in a row failed"),
    ],
)
def test_what_is_plainly_broken_goes_back_at_once(how: dict[str, Any], why: str) -> None:
    verdict = Followed().look(GOOD, **how)
    assert verdict[1:] == (Decision.BACK, why)


def test_many_failures_at_once_need_no_statistics_unless_stable_fails_too() -> None:
    # Two clients only, so evidence alone would not do.
    rollout = Followed()
    rollout.look(GOOD, clients=1)
    both = Pair(BROKEN.canary, Outcomes(80, 40))
    assert rollout.look(both, clients=1).decision is Decision.WAIT
    for _ in range(12):
        rollout.look(GOOD, clients=1)
    verdict = rollout.until(BROKEN, acts, most=12, clients=1)
    assert verdict.decision is Decision.BACK
    assert verdict.reason.endswith("requests of the last 10 s failed")


def test_many_failing_clients_are_told_as_clients() -> None:
    rollout = Followed(COURSE._replace(is_sticky=True))
    assert "clients of the last 10 s failed" in rollout.until(BROKEN, acts, most=12).reason


def test_a_canary_that_hangs_goes_back_while_stable_goes_on() -> None:
    rollout = Followed()
    hanging = Pair(Outcomes(), Outcomes(80, 0, 40, 4))
    rollout.look(GOOD)
    verdict = rollout.until(hanging, acts, most=12, in_flight=25)
    assert verdict.reason == "it has 25 requests in hand and has completed none for 10 s"
    assert rollout.at_s == 11


def test_a_canary_is_not_said_to_hang_while_nobody_is_served() -> None:
    rollout = Followed()
    for _ in range(30):
        assert rollout.look(NONE, in_flight=25).decision is Decision.WAIT


def test_orders_hold_and_promote_it_and_abort_beats_all() -> None:
    rollout = Followed()
    assert rollout.look(order="hold")[1:] == (Decision.HOLD, "it was told to wait")
    assert rollout.look(order="promote")[1:] == (Decision.PROMOTE, "it was told to go on")
    assert rollout.look(order="abort", ended="exit code 1")[1:] == (Decision.BACK, "it was told to go back")


def test_what_is_proven_bad_is_not_promoted_by_an_order() -> None:
    assert Followed().until(FAILING, acts, order="promote").decision is Decision.PROMOTE
    assert Followed().until(FAILING, acts, order="hold").decision is Decision.BACK


@pytest.mark.parametrize(
    ("how", "why"),
    [({"is_shut": True}, "connections to it fail"), ({"failed_checks": 1}, "its last health check failed")],
)
def test_a_canary_that_is_not_well_gets_no_more(how: dict[str, Any], why: str) -> None:
    rollout = Followed()
    for _ in range(80):
        rollout.look(GOOD, **how)
    assert rollout.verdict[1:] == (Decision.WAIT, why)


@pytest.mark.parametrize(
    ("choice", "decision"), [("hold", Decision.HOLD), ("promote", Decision.PROMOTE), ("abort", Decision.BACK)]
)
def test_too_little_traffic_is_inconclusive(choice: str, decision: Decision) -> None:
    rollout = Followed(COURSE._replace(on_inconclusive=choice))
    rollout.look(GOOD)
    rollout.look(GOOD)
    for _ in range(898):
        assert rollout.look(NONE).decision is Decision.WAIT
    assert "requests that this step needs are done" in rollout.verdict.reason
    verdict = rollout.until(NONE, is_no_wait)
    assert verdict.decision is decision
    assert verdict.reason.startswith("inconclusive: 20 of the 200")
    assert 900 <= rollout.at_s <= 903


def test_a_small_step_that_too_little_traffic_reaches_is_not_waited_for() -> None:
    rollout = Followed(COURSE._replace(steps=(Step(100, 60.0), Step(500, 60.0), Step(5_000, 60.0))))
    few = Pair(Outcomes(0), Outcomes(80, 1, 40, 4))
    assert rollout.until(few, acts).decision is Decision.STEP
    assert 180 <= rollout.at_s <= 183
    assert rollout.until(few, is_no_wait).decision is Decision.HOLD


def test_a_proof_is_asked_for_before_the_end() -> None:
    rollout = Followed(COURSE._replace(needs_proof=True))
    few = Pair(Outcomes(4, 0, 2, 0), Outcomes(80, 0, 40, 4))
    assert rollout.until(few, acts).decision is Decision.STEP
    verdict = rollout.until(few, lambda one: "evidence for it" in one.reason or acts(one))
    assert verdict.reason.startswith("the evidence for it is ")
    assert rollout.until(few, acts).decision is Decision.PROMOTE
    assert rollout.verdict.rollout.evidence.proof >= 20


def test_clients_that_stay_are_judged_anew_at_each_step_in_strata_of_ten_seconds() -> None:
    rollout = Followed(COURSE._replace(is_sticky=True))
    for _ in range(9):
        assert rollout.look(GOOD).rollout.judged == Pair()
    rollout.until(GOOD, lambda one: one.rollout.judged != Pair(), most=3)
    assert rollout.until(GOOD, acts).decision is Decision.STEP
    assert rollout.verdict.rollout.judged == Pair()
    assert rollout.verdict.rollout.evidence.value == pytest.approx(1)


def test_a_second_without_stable_requests_is_no_excess() -> None:
    rollout = Followed()
    rollout.look(Pair(Outcomes(20, 9), Outcomes()))
    assert rollout.look(Pair(Outcomes(20, 9), Outcomes())).rollout.excess("failed") == 0
    assert Rollout(COURSE).excess("failed") == 0


def test_words_say_how_it_stands() -> None:
    rollout = Rollout(COURSE)._replace(judged=Pair(Outcomes(640, 12, 300, 32), Outcomes(12_160, 20, 6_000, 600)))
    assert sentence(rollout, "green r42", "blue", "held until it is clear") == (
        "green r42 has 5 %: 12 of 640 requests failed (1.9 %), blue 20 of 12,160 (0.16 %). "
        "Evidence 1 of the 100 that a rollback needs; held until it is clear."
    )
    assert "0 of 0 requests failed, blue 0 of 0. Evidence" in sentence(Rollout(COURSE), "green", "blue", "")


def test_words_tell_of_what_says_most() -> None:
    rollout = Followed()
    rollout.until(SLOW, acts)
    assert "took longer than" in sentence(rollout.verdict.rollout, "green", "blue", "")
    rollout.until(SLOW, lambda one: one.rollout.evidence.value > 1e6)
    assert "Evidence more than a million of the 100" in sentence(rollout.verdict.rollout, "green", "blue", "")


def test_figures_are_json_and_have_the_odds_ratio() -> None:
    rollout = Followed()
    rollout.until(FAILING, acts)
    told = json.loads(json.dumps(figures(rollout.verdict.rollout), allow_nan=False))
    assert told["odds_ratio"]["failed"] > 5
    assert told["evidence"]["all"] > 100
    assert told["canary"]["completed"] > 50
