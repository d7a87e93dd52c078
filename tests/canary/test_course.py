"""How steps are written, and what little traffic makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from app.canary.course import DEFAULT_STEPS, Course, Step, fitted, parse_steps, percent
from app.canary.outcomes import Outcomes, Pair
from app.operator_errors import ConfigError
from app.settings.tables.canary_settings import CanaryConfig


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("5%", [(500, 60)]),
        ("1% 5%:30s 25%:2m", [(100, 60), (500, 30), (2500, 120)]),
        ("0.25,12.5 : 1h", [(25, 60), (1250, 3600)]),
        ("10%:90", [(1000, 90)]),
    ],
)
def test_steps_are_read(text: str, steps: list[tuple[int, float]]) -> None:
    assert [tuple(step) for step in parse_steps(text.replace(" : ", ":"))] == steps


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no step"),
        ("5% 1%", "more than the one before"),
        ("5% 5%", "more than the one before"),
        ("0%", "more than 0 and less than 100"),
        ("100%", "more than 0 and less than 100"),
        ("250%", "more than 0 and less than 100"),
        ("five", "is no step"),
        ("0.125%", "is no step"),
    ],
)
def test_bad_steps_say_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_steps(text)


@pytest.mark.parametrize(
    ("rate_per_s", "weights"),
    [
        (1000, [100, 500, 2500, 5000]),
        (20, [333, 500, 2500, 5000]),
        (10, [667, 2500, 5000]),
        (1, [2500, 5000]),
        (0, [2500, 5000]),
    ],
)
def test_little_traffic_begins_with_more_of_it(rate_per_s: float, weights: list[int]) -> None:
    assert [step.weight for step in fitted(parse_steps(DEFAULT_STEPS), rate_per_s)] == weights


@pytest.mark.parametrize(
    "wrong", [{"steps": "5% 1%"}, {"sticky": "session"}, {"on_inconclusive": "wait"}, {"patience": 1}]
)
def test_settings_that_make_no_course_are_refused(wrong: dict[str, Any]) -> None:
    assert CanaryConfig().steps == DEFAULT_STEPS
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CanaryConfig(**wrong)


def test_with_clients_that_stay_all_steps_share_the_bound() -> None:
    steps = parse_steps(DEFAULT_STEPS)
    assert Course(steps).threshold == 100
    assert Course(steps, is_sticky=True).threshold == 400


def test_weights_are_told_in_per_cent() -> None:
    assert [percent(weight) for weight in (25, 500, 2500)] == ["0.25 %", "5 %", "25 %"]


def test_counters_that_began_anew_count_from_nothing() -> None:
    assert Outcomes(3, 1).since(Outcomes(10, 0)) == Outcomes(3, 1)
    assert Pair(Outcomes(12, 3), Outcomes(9)).since(Pair(Outcomes(10, 1), Outcomes(9))) == Pair(
        Outcomes(2, 2), Outcomes(0)
    )


def test_a_course_comes_out_of_its_dict() -> None:
    course = Course((Step(100, 60.0),), is_sticky=True)
    assert Course.read(course._asdict()) == course
