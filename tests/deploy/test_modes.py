from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from app.deploy.deployer import Overrides
from app.deploy.events import Drained, Draining, Event, Noted, Overdue
from app.deploy.modes import Modes
from app.operator_errors import DrainTimedOut, OperatorError, StateMissing, UsageError
from app.state.model import Maintenance, Pause
from app.state.preview_token import verify
from tests.deploy.rehearsal import FakeTraffic, Rehearsal, Row


@pytest.fixture
def site(rehearsal: Rehearsal) -> Rehearsal:
    """Blue is recorded as active; no process is needed."""
    rehearsal.store.write(replace(rehearsal.state, active_version="blue"))
    return rehearsal


def test_a_pause_stands_in_the_state_with_its_end(site: Rehearsal) -> None:
    began = time.time()
    pause = site.modes().pause(30)
    assert site.state.pause == pause
    assert began <= pause.since <= time.time()
    assert pause.until - pause.since == pytest.approx(30, abs=1)
    assert site.outcomes() == [("pause", "done")]


def test_resume_takes_the_pause_away_and_tells_how_long_it_was(site: Rehearsal) -> None:
    assert site.modes().resume() is None
    site.modes().pause(30)
    held_s = site.modes().resume()
    assert held_s is not None
    assert 0 <= held_s < 10
    assert site.state.pause is None
    assert site.outcomes() == [("pause", "done"), ("resume", "done")]


def test_a_pause_whose_time_is_up_is_cleared_by_the_next_command(site: Rehearsal) -> None:
    now = time.time()
    site.store.write(replace(site.state, pause=Pause(now - 60, now - 30)))
    assert site.modes().resume() is None
    assert site.state.pause is None


def test_a_pause_with_drain_returns_when_both_versions_are_quiet(site: Rehearsal) -> None:
    site.traffic = FakeTraffic({"blue": [2, 1, 0], "green": [1, 0]}, [Row("GET", "/report", 8.2)])
    site.modes().pause(30, drain=True)
    assert site.seen(Draining)[0].in_flight == 3
    assert [event.version for event in site.seen(Drained)] == ["blue and green"]
    assert site.state.pause is not None


def test_a_pause_that_does_not_get_quiet_is_lifted(site: Rehearsal) -> None:
    site.traffic = FakeTraffic({"blue": [1]}, [Row("GET", "/report", 8.2)])
    with pytest.raises(DrainTimedOut, match="blue and green still have 1 request in flight.*the pause was lifted"):
        site.modes(drain_timeout_s=0.1).pause(30, drain=True)
    assert site.state.pause is None
    assert site.seen(Overdue)[0].named == ("GET /report for 8.2 s", "GET /report for 8.2 s")
    assert site.outcomes() == [("pause", "drain timed out")]


def test_a_pause_waits_no_longer_than_it_holds(site: Rehearsal) -> None:
    site.traffic = FakeTraffic({"blue": [1]})
    began = time.monotonic()
    with pytest.raises(DrainTimedOut):
        site.modes(drain_timeout_s=60).pause(0.2, drain=True)
    assert time.monotonic() - began < 10


def test_resuming_during_the_drain_means_no_quiet_moment(site: Rehearsal) -> None:
    draining = threading.Event()
    traffic = FakeTraffic({"blue": [1]})
    site.traffic = traffic

    def report(event: Event) -> None:
        if isinstance(event, Draining):
            draining.set()

    deployment = replace(site.deployment(), report=report)
    raised: list[BaseException] = []

    def pause() -> None:
        try:
            Modes(deployment, site.history, "pause", 10).pause(30, drain=True)
        except OperatorError as error:
            raised.append(error)

    thread = threading.Thread(target=pause)
    thread.start()
    try:
        assert draining.wait(10)
        site.modes().resume()
    finally:
        traffic.looks["blue"] = [0]
        thread.join()
    assert "no quiet moment" in str(raised[0])


def test_a_pause_that_does_not_get_quiet_leaves_that_of_another_command(site: Rehearsal) -> None:
    """It may be a migration that depends on it."""
    site.traffic = FakeTraffic({"blue": [1]})

    def report(event: Event) -> None:
        site.events.append(event)
        if isinstance(event, Overdue):
            site.modes("resume").resume()
            site.modes("pause").pause(60)

    with pytest.raises(DrainTimedOut):
        Modes(replace(site.deployment(0.1), report=report), site.history, "pause --drain", 10).pause(30, drain=True)
    assert site.state.pause is not None
    assert "another command has paused in the meantime, and its pause stands" in [it.text for it in site.seen(Noted)]


def test_maintenance_says_its_message_and_keeps_its_beginning(site: Rehearsal) -> None:
    site.modes().start_maintenance("Back at nine", 60, ("10.0.0.0/8",))
    first = site.state.maintenance
    assert first is not None
    assert first == Maintenance(first.since, "Back at nine", 60, ("10.0.0.0/8",))
    site.modes().start_maintenance("Back at ten", 120, ())
    assert site.state.maintenance == Maintenance(first.since, "Back at ten", 120, ())
    assert site.modes().end_maintenance()
    assert not site.modes().end_maintenance()
    assert site.state.maintenance is None


def test_maintenance_given_again_keeps_what_is_not_given(site: Rehearsal) -> None:
    until = time.time() + 600
    first = site.modes().start_maintenance("Back at nine", 60, ("10.0.0.0/8",), until)
    assert site.modes().start_maintenance() == first
    assert site.modes().start_maintenance(allow=("::1",)) == first._replace(allow=("::1",))
    assert site.modes().start_maintenance("") == first._replace(message="", allow=("::1",))


def test_maintenance_whose_time_is_up_is_cleared_by_the_next_command(site: Rehearsal) -> None:
    over = Maintenance(time.time() - 60, "Back at nine", until=time.time() - 30)
    site.store.write(replace(site.state, maintenance=over))
    assert not site.modes().end_maintenance()
    assert site.state.maintenance is None
    site.store.write(replace(site.state, maintenance=over))
    assert site.modes().start_maintenance().message == "", "that was another one's"


def test_pause_and_maintenance_outlive_a_switch(rehearsal: Rehearsal) -> None:
    rehearsal.deployer().start("blue")
    rehearsal.deployer().start("green", Overrides(release="r2"))
    rehearsal.modes().pause(300)
    rehearsal.modes().start_maintenance("", 120, ())
    rehearsal.deployer().switch("green")
    assert rehearsal.state.pause is not None
    assert rehearsal.state.maintenance is not None


def test_a_preview_is_of_the_standby_and_signed_with_one_key(site: Rehearsal) -> None:
    name, token = site.modes().preview(None, 60)
    key = site.state.preview_key
    assert (name, verify(key, token, time.time())) == ("green", "green")
    assert verify(key, token, time.time() + 61) is None
    assert site.modes().preview("blue", 60)[0] == "blue"
    assert site.state.preview_key == key
    assert site.outcomes() == [("preview", "done")]


@pytest.mark.parametrize("command", ["pause", "resume", "start_maintenance"])
def test_a_state_file_that_is_gone_is_not_begun_anew(site: Rehearsal, command: str) -> None:
    """The router serves on without it; an empty one would tell it that nothing is active."""
    arguments = {"pause": (60,), "start_maintenance": ("", 60, ())}.get(command, ())
    site.modes("maintenance off").start_maintenance("", 60, ())
    site.store.path.unlink()
    with pytest.raises(StateMissing, match="is gone; blue was active at last") as caught:
        getattr(site.modes(), command)(*arguments)
    assert caught.value.hint == "python3 bin/blue_green_deploy repair"
    assert not site.store.path.exists()


def test_a_preview_of_nothing_is_refused(site: Rehearsal) -> None:
    with pytest.raises(UsageError, match="no version 'red'"):
        site.modes().preview("red", 60)
    site.store.path.unlink()
    with pytest.raises(StateMissing):
        site.modes().preview(None, 60)
