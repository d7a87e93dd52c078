"""What is said in errors that have something of their own to say."""

from __future__ import annotations

from app.errors import RateLimited, UnderMaintenance
from app.operator_errors import TrafficTaken


def test_maintenance_says_what_the_operator_has_said() -> None:
    assert (UnderMaintenance().text, UnderMaintenance().retry_after_s) == ("Down for maintenance", 120)
    assert (UnderMaintenance("Back at nine", 60).text, UnderMaintenance("", 60).retry_after_s) == ("Back at nine", 60)


def test_traffic_that_another_command_has_taken() -> None:
    assert str(TrafficTaken("green", "blue", "`switch blue`")) == (
        "green was made active, and `switch blue` gave the traffic to blue meanwhile"
    )
    assert str(TrafficTaken("green", None)).endswith("and another command took the traffic from it meanwhile")


def test_limit_says_when_to_come_back_and_what_it_is() -> None:
    refusal = RateLimited("login: 10.0.0.7", 6, (("RateLimit", '"login";r=0;t=6'),))
    assert (refusal.status, refusal.retry_after_s, str(refusal)) == (429, 6, "login: 10.0.0.7")
    assert refusal.fields == (("RateLimit", '"login";r=0;t=6'),)
