"""What the page says is going on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.dashboard.observation import Observation
from app.dashboard.sentence import Sentence
from app.dashboard.sentence import sentence as sentence_of
from app.deploy.phases import PHASES, Operation
from app.deploy.record.history import Entry
from app.state.model import BlueGreenState, Maintenance, Pause, with_version
from tests.dashboard.observations import AT, command, flight, observation, probes, snapshot, state, stats, worker_stats


def sentence(seen: Observation) -> Sentence:
    return sentence_of(seen, seen.situation)


def said(seen: Observation) -> str:
    """The sentence with ordinary spaces."""
    return sentence(seen).text.replace("\u00a0", " ")


def draining(**changes: object) -> Observation:
    """Green has the traffic for 12 s, blue has requests left."""
    minute = snapshot(
        stats("blue", in_flight=3),
        stats("green", in_flight=9),
        rows=[flight("green", 70), flight("blue", 8.4), flight("blue", 2)],
        probes={"blue": probes("+"), "green": probes("+")},
    )
    return observation(**{"state": state("green", switched_ago_s=12.2), "minute": minute, **changes})


def test_calm() -> None:
    assert said(observation()) == "Blue 1.4.2 serves all traffic. Green 1.5.0 is healthy and standing by."
    assert sentence(observation()).tone == "calm"


def test_a_broken_state_file_is_said_though_all_goes_on() -> None:
    broken = observation(state_fault="it is torn")
    assert said(broken).startswith("Blue 1.4.2 serves all traffic. The state file is broken: the last good state")
    assert sentence(broken).tone == "alarm"


def test_without_releases_the_versions_have_just_their_names() -> None:
    bare = BlueGreenState(active_version="green")
    unprobed = observation(state=bare, minute=snapshot())
    assert said(unprobed) == "Green serves all traffic. Blue is stopped."


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("stopped", "Green 1.5.0 is stopped."),
        ("starting", "Green 1.5.0 is starting."),
        ("stopping", "Green 1.5.0 is stopping."),
        ("crashed", "Green 1.5.0 has crashed."),
    ],
)
def test_standby_that_does_not_run(status: str, text: str) -> None:
    seen = observation(state=state(green=status), minute=snapshot(probes={"green": probes("---")}))
    assert said(seen) == f"Blue 1.4.2 serves all traffic. {text}"


def test_standby_that_fails() -> None:
    seen = observation(minute=snapshot(probes={"blue": probes("++"), "green": probes("+-")}))
    assert said(seen).endswith("Green 1.5.0 is running but fails its health checks.")


def test_standby_that_was_not_checked() -> None:
    assert said(observation(minute=snapshot())).endswith("Green 1.5.0 is running and has not been checked yet.")


def test_standby_in_other_hands_that_answers_is_standing_by() -> None:
    seen = observation(state=state(green="stopped"))
    assert said(seen).endswith("Green 1.5.0 is healthy and standing by.")


def test_drain() -> None:
    text = "Switched to green 1.5.0 12 s ago; blue still finishes 3 requests, the oldest 8 s."
    assert said(draining()) == text
    assert sentence(draining()).tone == "busy"


def test_drain_of_one_request() -> None:
    minute = snapshot(stats("blue", in_flight=1))
    assert said(draining(minute=minute)).endswith("blue still finishes 1 request.")


def test_leftovers_without_a_known_switch() -> None:
    seen = draining(state=state("green"))
    assert said(seen).startswith("All new requests go to green 1.5.0; blue still finishes 3 requests")


def test_topic_stays_while_only_figures_change() -> None:
    later = replace(draining(), at=AT + 5)
    assert sentence(later).text != sentence(draining()).text
    assert sentence(later).topic == sentence(draining()).topic


def test_topic_is_new_when_the_drain_ends() -> None:
    after = observation(state=state("green", switched_ago_s=20))
    assert sentence(after).topic != sentence(draining()).topic


def test_fresh_switch_with_nothing_left() -> None:
    seen = observation(state=state("green", switched_ago_s=20))
    assert said(seen).startswith("Switched to green 1.5.0 20 s ago; blue has nothing left to finish. Blue 1.4.2 is")


def test_old_switch_is_no_news() -> None:
    assert said(observation(state=state("green", switched_ago_s=3600))).startswith("Green 1.5.0 serves all traffic.")


@pytest.mark.parametrize(
    ("outcomes", "text"),
    [
        ("++-", "Blue 1.4.2 is active but failed the last health check: connection refused."),
        ("+---", "Blue 1.4.2 is active but failed the last 3 health checks: connection refused."),
    ],
)
def test_failing_active_version(outcomes: str, text: str) -> None:
    seen = observation(minute=snapshot(probes={"blue": probes(outcomes), "green": probes("+")}))
    assert said(seen).startswith(text)
    assert sentence(seen).tone == "alarm"


def test_failover_comes_before_all_other_trouble() -> None:
    seen = observation(state=state(blue="crashed"), ended_at={"blue": AT - 90}, minute=snapshot(failover_from="blue"))
    assert said(seen) == "Blue 1.4.2 is down; green 1.5.0 stands in until blue is healthy again."
    assert sentence(seen).tone == "alarm"
    switched = replace(seen, minute=snapshot(failover_from="green"))
    assert "crashed" in said(switched), "the other version's failover is over"


def test_crashed_active_version() -> None:
    seen = observation(state=state(blue="crashed"), ended_at={"blue": AT - 90})
    assert said(seen).startswith("Blue 1.4.2 is active but crashed 1 min 30 s ago.")
    assert sentence(seen).tone == "alarm"
    holding = replace(seen, minute=snapshot(workers=[worker_stats(1, held=1)]))
    assert "crashed 1 min 30 s ago; 1 request waits for it." in said(holding)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"state": None}, "No version is known, so every request is answered with 503: there is no state file."),
        (
            {"state": None, "state_fault": "it is torn"},
            "No version is known, so every request is answered with 503: it is torn.",
        ),
        ({"state": BlueGreenState()}, "No version is active, so every request is answered with 503."),
    ],
)
def test_no_version_to_send_to(changes: dict[str, object], text: str) -> None:
    assert said(observation(**changes)) == text
    assert sentence(observation(**changes)).tone == "alarm"


def test_command_at_work() -> None:
    work = command("deploy", 3, outcome=None, duration_s=None, phase="gating")
    seen = observation(at_work=[work])
    assert said(seen) == "Blue 1.4.2 serves all traffic. Green 1.5.0 is being deployed: waiting for healthy answers."
    assert sentence(seen).tone == "busy"


def test_switch_of_this_very_second_is_just_now() -> None:
    assert said(observation(state=state("green", switched_ago_s=0.4))).startswith("Switched to green 1.5.0 just now;")


def test_pause_says_how_long_at_most() -> None:
    paused = replace(state(), pause=Pause(AT - 5, AT + 10))
    assert said(observation(state=paused)).startswith(
        "Traffic to blue 1.4.2 is paused: new requests wait, for 10 s at most."
    )
    holding = snapshot(workers=[worker_stats(1, held=2), worker_stats(2, held=1)])
    assert said(observation(state=paused, minute=holding)).startswith(
        "Traffic to blue 1.4.2 is paused: 3 requests wait, for 10 s at most."
    )
    over = replace(state(), pause=Pause(AT - 50, AT - 10))
    assert said(observation(state=over)).startswith("Blue 1.4.2 serves all traffic.")


def test_maintenance() -> None:
    seen = observation(state=replace(state(), maintenance=Maintenance(AT - 65)))
    text = "Maintenance for 1 min 5 s: clients are answered with 503 instead of going to blue."
    assert said(seen).startswith(text)
    assert sentence(seen).tone == "busy"


def test_version_in_the_foreground_is_not_work() -> None:
    seen = observation(at_work=[command("run", 300, outcome=None)])
    assert said(seen).endswith("Green 1.5.0 is healthy and standing by.")


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_is_told_in_words(phase: str) -> None:
    text = said(observation(at_work=[command("deploy", 3, outcome=None, duration_s=None, phase=phase)]))
    assert "Green 1.5.0 is being deployed: " in text
    assert f": {phase}." not in text


@pytest.mark.parametrize("operation", sorted(set(Operation) - {Operation.RUN}))
def test_every_command_at_work_is_told_of(operation: str) -> None:
    work = command(operation, 3, outcome=None, duration_s=None, phase="write_state")
    assert said(observation(at_work=[work])).endswith(": the state file is being written.")


def test_new_release_that_is_watched() -> None:
    work = command("deploy", 30, outcome=None, duration_s=None, phase="watching")
    text = said(observation(state=state("green", switched_ago_s=20), at_work=[work]))
    assert text.endswith("Green 1.5.0 is being deployed: its errors and times are compared with blue's.")


def test_check_of_the_process_before_says_nothing_of_this_one() -> None:
    fresh = with_version(state("green", switched_ago_s=1), "green", started_at=AT - 3)
    seen = observation(state=fresh, minute=snapshot(probes={"blue": probes("++"), "green": probes("---")[:-1]}))
    assert said(seen).startswith("Switched to green 1.5.0 1 s ago; blue has nothing left to finish.")
    assert sentence(seen).tone == "calm"
    standby = with_version(state(), "green", started_at=AT - 3)
    assert said(replace(seen, state=standby)).endswith("Green 1.5.0 is running and has not been checked yet.")


def test_active_version_that_is_well_but_answers_with_errors() -> None:
    minute = snapshot(stats("blue", requests=2400, failed=712), probes={"blue": probes("+"), "green": probes("+")})
    seen = observation(minute=minute)
    assert said(seen).startswith("Blue 1.4.2 serves all traffic, but 30 % of the last minute's requests failed.")
    assert sentence(seen).tone == "alarm"
    later = replace(seen, minute=minute._replace(versions={**minute.versions, "blue": stats("blue", 2400, 800)}))
    assert sentence(later).topic == sentence(seen).topic


@pytest.mark.parametrize(("requests", "failed"), [(9, 9), (1000, 40)], ids=["few", "a small share"])
def test_a_few_errors_are_no_alarm(requests: int, failed: int) -> None:
    minute = snapshot(stats("blue", requests, failed), probes={"blue": probes("+"), "green": probes("+")})
    assert said(observation(minute=minute)).startswith("Blue 1.4.2 serves all traffic. ")


@pytest.mark.parametrize(
    ("outcome", "detail", "text"),
    [
        ("unhealthy", "no answer in 30 s", "Deploy green failed 38 s ago: no answer in 30 s."),
        ("failed", "", "Deploy green failed 38 s ago."),
        ("rolled back", "it does worse", "Deploy green was rolled back 38 s ago: it does worse."),
    ],
)
def test_command_that_failed_is_news(outcome: str, detail: str, text: str) -> None:
    failed = command("deploy", 40, outcome=outcome, detail=detail, duration_s=2.0)
    seen = observation(commands=[command("start", 90), failed])
    assert said(seen) == f"Blue 1.4.2 serves all traffic. {text}"
    assert sentence(seen).tone == "busy"
    assert sentence(replace(seen, at=AT + 5)).topic == sentence(seen).topic


@pytest.mark.parametrize(
    "after", [command("start", 20), command("failover", 20)], ids=["another command", "what the router did"]
)
def test_failed_command_is_news_until_the_next_one(after: Entry) -> None:
    seen = observation(commands=[command("deploy", 40, outcome="failed"), after])
    assert ("failed" in said(seen)) == (after.operation == "failover")
    assert "failed" not in said(replace(seen, at=AT + 400)), "it is old"


def test_long_and_strange_releases_leave_the_sentence_readable() -> None:
    long = "release-2026-11-23-checkout-redesign-with-a-long-name-build-12345678-rc1"
    assert said(observation(state=with_version(state(), "blue", release=long))).startswith(
        "Blue release-2026-11-23-che…45678-rc1 serves all traffic."
    )
    assert "Blue r1\ufffd serves" in said(observation(state=with_version(state(), "blue", release="r1\u202e")))
