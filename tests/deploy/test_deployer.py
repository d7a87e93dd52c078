from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from app.deploy.deployer import Deployer, Overrides
from app.deploy.drain import OnTimeout
from app.deploy.events import (
    BrokenOff,
    Diagnosed,
    Drained,
    Draining,
    Event,
    Launched,
    LockAwaited,
    Noted,
    Promoted,
    ReceiptReady,
    Stopped,
    Stopping,
)
from app.deploy.phases import Operation, Phase
from app.deploy.processes.launch import Launch
from app.deploy.processes.process_table import Processes
from app.deploy.record.history import Intent
from app.deploy.traffic import Tally
from app.operator_errors import (
    ConfigError,
    DrainTimedOut,
    LockBusy,
    OperatorError,
    ProcessError,
    StateError,
    TrafficTaken,
    UnhealthyVersion,
    UsageError,
)
from app.state.model import Pause, promote, put_version
from app.state.process_birth import birth
from tests.deploy.rehearsal import COMMAND, QUIET, FakeTraffic, Rehearsal, Row
from tests.support.waiting import wait_until

Deployments = Callable[..., Rehearsal]


# --- start -----------------------------------------------------------------------------------------------


def test_first_version_becomes_active_and_the_second_does_not(rehearsal: Rehearsal) -> None:
    rehearsal.deployer().start("blue")
    assert rehearsal.seen(Promoted) == [Promoted("blue", f"port {rehearsal.ports['blue']}", None, True)]
    rehearsal.deployer().start("green", Overrides(release="r2"))
    assert rehearsal.state.active_version == "blue"
    green = rehearsal.version("green")
    assert (green.status, green.release) == ("running", "r2")
    assert green.pid is not None
    assert green.pid_birth == birth(green.pid)


def test_version_runs_in_its_own_session_and_directory_with_a_clean_environment(
    deployments: Deployments, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal = deployments(env={"SHOP": "here"})
    (rehearsal.home / "env").touch()
    for name, value in {"VIRTUAL_ENV": "/x", "TRAFFIC_ROUTER_WORKERS": "9", "MINE": "kept", "PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    rehearsal.deployer().start("blue", Overrides(release="r 1"))
    given = json.loads((rehearsal.home / "env").read_text())
    assert {key: given.get(key) for key in ("PORT", "BG_VERSION", "BG_RELEASE", "SHOP", "MINE")} == {
        "PORT": str(rehearsal.ports["blue"]),
        "BG_VERSION": "blue",
        "BG_RELEASE": "r 1",
        "SHOP": "here",
        "MINE": "kept",
    }
    assert not {"VIRTUAL_ENV", "TRAFFIC_ROUTER_WORKERS"} & given.keys()
    pid = rehearsal.version("blue").pid
    assert pid is not None
    assert os.getsid(pid) == pid
    assert psutil.Process(pid).cwd() == str(rehearsal.home / "blue")


def test_a_version_that_never_gets_healthy_is_diagnosed_and_stopped(deployments: Deployments) -> None:
    rehearsal = deployments(start_timeout=1, health_timeout=1)
    (rehearsal.home / "broken").touch()
    with pytest.raises(UnhealthyVersion, match=r"blue on port \d+ is not healthy: status 500, .* 1 s after"):
        rehearsal.deployer().start("blue", Overrides(release="r1"))
    diagnosis = rehearsal.seen(Diagnosed)[0]
    assert diagnosis.log_tail == ("tiny app, release r1",)
    assert {probe.result.status for probe in diagnosis.probes} == {500}
    assert rehearsal.state.active_version is None
    assert rehearsal.version("blue").status == "stopped"
    assert len(rehearsal.seen(Stopped)) == 1
    assert rehearsal.outcomes() == [("start", "unhealthy")]


def test_a_version_that_dies_is_reported_at_once_with_its_exit_status(deployments: Deployments) -> None:
    rehearsal = deployments(start_timeout=600, command="sh -c 'echo no database; exit 7'")
    with pytest.raises(UnhealthyVersion, match=r"it has ended \(exit status 7\)"):
        rehearsal.deployer().start("blue")
    assert rehearsal.seen(Diagnosed)[0].log_tail == ("no database",)
    assert (rehearsal.version("blue").status, rehearsal.version("blue").exit_status) == ("crashed", 7)


@pytest.mark.parametrize("command", ["start", "restart", "deploy"])
def test_a_version_that_ends_with_status_0_has_failed_to_start_all_the_same(both: Rehearsal, command: str) -> None:
    """As hypercorn does when it cannot import the application, and whatever goes into the background."""
    both.app = replace(both.app, start_timeout=600, command="echo no module named shop")
    deployer = both.deployer()
    if command == "start":
        deployer.stop("green")
    act = {
        "start": lambda: deployer.start("green", reconfigured=True),
        "restart": lambda: deployer.restart("green", reconfigured=True),
    }
    with pytest.raises(UnhealthyVersion, match=r"it has ended \(exit status 0.*foreground"):
        act.get(command, deployer.deploy)()
    assert both.seen(Diagnosed)[0].log_tail == ("no module named shop",)
    assert both.state.active_version == "blue"


def test_the_log_of_a_failed_start_shows_only_that_start(rehearsal: Rehearsal) -> None:
    rehearsal.deployer().start("blue")
    rehearsal.deployer().stop("blue", force=True)
    with pytest.raises(UnhealthyVersion):
        rehearsal.deployer().start("blue", Overrides("r2", command="echo {version} {release} fails"))
    assert rehearsal.seen(Diagnosed)[0].log_tail == ("blue r2 fails",)


def test_a_failed_start_is_not_what_is_remembered(both: Rehearsal) -> None:
    both.deployer().stop("green")
    with pytest.raises(UnhealthyVersion):
        both.deployer().start("green", Overrides(command="false", release="r3"))
    assert (both.version("green").command, both.version("green").release) == (None, "r2")
    assert both.version("green").status == "stopped"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (Overrides(command="no-such-program --port {port}"), "there is no program 'no-such-program'"),
        (Overrides(command="./app"), "there is no program './app'"),
        (Overrides(dir="/no/such/directory"), "/no/such/directory is not a directory"),
        (Overrides(command="'unclosed"), "cannot be split into words"),
        (Overrides(command=" "), "names no program"),
    ],
)
def test_what_cannot_be_started_is_refused_before_anything_changes(
    both: Rehearsal, overrides: Overrides, message: str
) -> None:
    before = both.state
    with pytest.raises(ConfigError, match=message):
        both.deployer().deploy(overrides)
    assert both.state == before


def test_a_program_that_cannot_be_executed_is_a_failed_start(rehearsal: Rehearsal) -> None:
    program = rehearsal.home / "blue" / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with pytest.raises(ProcessError, match="could not be started: ./program: No such file"):
        rehearsal.deployer().start("blue", Overrides(command="./program"))
    assert rehearsal.outcomes() == [("start", "failed")]


def test_a_version_that_listens_elsewhere_is_asked_about_its_port(rehearsal: Rehearsal) -> None:
    rehearsal.app = replace(rehearsal.app, start_timeout=0.5, health_timeout=0.5)
    with pytest.raises(UnhealthyVersion, match=r"does its command take \{port\}, or \$PORT\?"):
        rehearsal.deployer().start("blue", Overrides(command="sleep 60"))


def test_a_taken_port_names_who_has_it(rehearsal: Rehearsal) -> None:
    with (
        socket.create_server(("127.0.0.1", rehearsal.ports["blue"])),
        pytest.raises(ProcessError, match=rf"port {rehearsal.ports['blue']} of blue is taken by pid {os.getpid()}"),
    ):
        rehearsal.deployer().start("blue")


def test_a_taken_port_is_told_at_the_very_first_start(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal.store.path.unlink()
    monkeypatch.setattr("app.deploy.run.port_wait.port_is_open", lambda port, address: True)
    with pytest.raises(ProcessError, match="port 5005 of blue is taken"):
        rehearsal.deployer().start("blue")


def test_starting_a_running_version_is_no_error_but_changing_it_is(both: Rehearsal) -> None:
    pid = both.version("green").pid
    both.deployer().start("green")
    assert Noted(f"green is running already (pid {pid})") in both.events
    with pytest.raises(ProcessError, match="green is running already"):
        both.deployer().start("green", Overrides(release="r3"))
    assert both.version("green").pid == pid


def test_start_and_restart_remember_what_the_version_was_started_with(both: Rehearsal) -> None:
    both.deployer().restart("green")
    both.deployer().stop("green")
    both.deployer().start("green")
    assert [event.release for event in both.seen(Launched)] == ["r2", "r2"]


def test_starting_the_active_version_again_after_a_crash(both: Rehearsal) -> None:
    both.kill("blue")
    wait_until(lambda: not both.processes.find(both.version("blue")).alive, "blue's end")
    assert both.deployment().observed(both.state).version("blue").status == "crashed"
    assert both.deployment().observed(both.state).version("blue").exit_status == -signal.SIGKILL
    both.deployer().start("blue")
    assert both.version("blue").status == "running"
    assert both.version("blue").exit_status is None


# --- stop, restart ---------------------------------------------------------------------------------------


def test_the_active_version_is_stopped_only_by_force(both: Rehearsal) -> None:
    with pytest.raises(OperatorError, match="blue is the active version"):
        both.deployer().stop("blue")
    both.deployer().stop("blue", force=True)
    assert both.version("blue").status == "stopped"
    assert both.state.active_version == "blue"


def test_stopping_what_does_not_run_is_no_error(rehearsal: Rehearsal) -> None:
    rehearsal.deployer().stop("green")
    assert rehearsal.events == [Noted("green is not running")]
    assert rehearsal.outcomes() == []


def test_stopping_a_crashed_version_clears_the_crash(both: Rehearsal) -> None:
    both.kill("green")
    wait_until(lambda: not both.processes.find(both.version("green")).alive, "green's end")
    both.deployer().stop("green")
    assert both.version("green").status == "stopped"


def test_stop_waits_for_the_requests_of_the_version(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"green": [2, 1, 0]}, [Row("GET", "/report", 8.2), Row("POST", "/pay", 9.1)])
    both.deployer().stop("green")
    look = both.seen(Draining)[0]
    assert (look.version, look.in_flight, look.oldest_s, look.oldest) == ("green", 2, 9.1, "POST /pay")
    assert len(both.seen(Drained)) == 1
    assert both.version("green").status == "stopped"


@pytest.mark.parametrize("command", ["stop", "restart"])
def test_workers_know_that_a_version_is_stopping_before_it_gets_the_signal(both: Rehearsal, command: str) -> None:
    seen = []

    class Workers(FakeTraffic):
        def is_state_known(self, serial: int) -> bool:
            green = both.version("green")
            seen.append((green.status, both.processes.find(green).alive, serial == both.state.serial))
            return super().is_state_known(serial)

    both.traffic = Workers(known=[False, False, True])
    getattr(both.deployer(), command)("green")
    assert seen == [("stopping", True, True)] * 3


def test_switch_waits_for_no_worker(both: Rehearsal) -> None:
    both.traffic = traffic = FakeTraffic()
    both.deployer().switch("green", wait=True)
    assert traffic.asked == []


def test_a_busy_version_is_not_stopped_without_force(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"green": [3]}, [Row("GET", "/report", 8.2)])
    with pytest.raises(DrainTimedOut, match=r"green still has 3 requests in flight after 0 s \(oldest: GET /report"):
        both.deployer(drain_timeout_s=0.2).stop("green")
    assert both.version("green").status == "running"
    both.deployer().stop("green", force=True)
    assert both.version("green").status == "stopped"


def test_a_version_that_ignores_sigterm_is_killed(deployments: Deployments) -> None:
    rehearsal = deployments(stop_timeout=0.2)
    (rehearsal.home / "stubborn").touch()
    rehearsal.deployer().start("blue")
    rehearsal.deployer().stop("blue", force=True)
    assert [(event.was_killed, event.exit_status) for event in rehearsal.seen(Stopped)] == [(True, -9)]


@pytest.mark.parametrize("stop_signal", ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"])
def test_a_version_is_told_to_end_in_its_own_way(deployments: Deployments, stop_signal: str) -> None:
    rehearsal = deployments(stop_signal=stop_signal)
    (rehearsal.home / "polite").write_text(stop_signal)
    rehearsal.deployer().start("blue")
    rehearsal.deployer().stop("blue", force=True)
    assert [(event.was_killed, event.exit_status) for event in rehearsal.seen(Stopped)] == [(False, 0)]


def test_every_command_that_stops_a_version_tells_it_in_its_own_way(deployments: Deployments) -> None:
    rehearsal = deployments(stop_signal="INT")
    (rehearsal.home / "polite").write_text("INT")
    for name in ("blue", "green"):
        rehearsal.deployer().start(name)
    rehearsal.deployer().restart("blue")
    rehearsal.deployer().deploy(stop_old=True)
    (rehearsal.home / "broken").touch()
    with pytest.raises(UnhealthyVersion):
        rehearsal.deployer().start("blue")
    assert {event.exit_status for event in rehearsal.seen(Stopped)} == {0}
    assert len(rehearsal.seen(Stopped)) == 4


def test_a_version_keeps_the_signal_that_it_was_started_with(deployments: Deployments) -> None:
    """The move to another server: the old one is to end in its way, though the setting is the new one's by now."""
    rehearsal = deployments(stop_signal="INT")
    (rehearsal.home / "polite").write_text("INT")
    rehearsal.deployer().start("blue")
    assert rehearsal.version("blue").stop_signal == "INT"
    rehearsal.app = replace(rehearsal.app, stop_signal="TERM")
    (rehearsal.home / "polite").write_text("TERM")
    rehearsal.deployer().deploy(stop_old=True)
    assert [(event.version, event.exit_status) for event in rehearsal.seen(Stopped)] == [("blue", 0)]
    rehearsal.deployer().stop("green", force=True)
    assert [(event.version, event.exit_status) for event in rehearsal.seen(Stopped)][1:] == [("green", 0)]


def test_a_version_whose_signal_was_not_recorded_gets_the_one_that_is_set(deployments: Deployments) -> None:
    """One that an older program has started."""
    rehearsal = deployments(stop_signal="INT")
    (rehearsal.home / "polite").write_text("INT")
    rehearsal.deployer().start("blue")
    rehearsal.store.write(put_version(rehearsal.state, replace(rehearsal.version("blue"), stop_signal=None)))
    rehearsal.deployer().stop("blue", force=True)
    assert [event.exit_status for event in rehearsal.seen(Stopped)] == [0]


def test_restarting_the_active_version_warns_without_a_router(both: Rehearsal) -> None:
    before = both.version("blue").pid
    both.deployer().restart("blue")
    assert both.version("blue").pid != before
    assert [event.text for event in both.seen(Noted) if event.warns] == [
        "blue is active: requests fail until it is healthy again"
    ]


def test_requests_wait_while_the_active_version_is_restarted(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"blue": [2, 1, 0]})
    pauses: list[Pause | None] = []

    def report(event: Event) -> None:
        if isinstance(event, Stopping | Launched):
            pauses.append(both.state.pause)

    deployment = replace(both.deployment(), report=report)
    Deployer(deployment, both.history, "restart blue").restart("blue")
    assert [pause is not None and pause.until - pause.since for pause in pauses] == [pytest.approx(5)] * 2
    assert both.state.pause is None


def test_a_restart_waits_a_while_for_a_busy_version_and_leaves_a_pause_of_the_operator(both: Rehearsal) -> None:
    pause = both.modes().pause(60)
    both.traffic = FakeTraffic({"blue": [1]})
    Deployer(replace(both.deployment(), hold_timeout_s=0.2), both.history, "restart blue").restart("blue")
    assert both.version("blue").status == "running"
    assert both.state.pause == pause
    assert not any("at most" in event.text for event in both.seen(Noted))


def test_requests_do_not_wait_for_a_restart_that_has_failed(both: Rehearsal) -> None:
    both.traffic = FakeTraffic()
    both.app = replace(both.app, command="/bin/false")
    with pytest.raises(UnhealthyVersion):
        both.deployer().restart("blue", reconfigured=True)
    assert both.state.pause is None


def test_an_unhealthy_active_version_is_left_running(both: Rehearsal) -> None:
    (both.home / "broken").touch()
    both.app = replace(both.app, start_timeout=0.5, health_timeout=0.5)
    with pytest.raises(UnhealthyVersion):
        both.deployer().restart("blue")
    assert both.processes.find(both.version("blue")).alive
    assert both.seen(Noted)[-1].text == "blue is the active version, so it was left running"


# --- switch, rollback ------------------------------------------------------------------------------------


def test_switch_moves_traffic_and_keeps_the_old_version(both: Rehearsal) -> None:
    both.deployer().switch("green")
    assert (both.state.active_version, both.state.previous_version) == ("green", "blue")
    assert both.version("blue").status == "running"


def test_switch_to_a_version_that_does_not_run_says_how_it_is_started(both: Rehearsal) -> None:
    both.deployer().stop("green")
    with pytest.raises(UnhealthyVersion, match="nothing listens") as caught:
        both.deployer().switch("green")
    assert caught.value.hint == "python3 bin/blue_green_deploy start green"


def test_switch_to_an_unhealthy_version_is_refused_and_forced(both: Rehearsal) -> None:
    (both.home / "broken").touch()
    with pytest.raises(UnhealthyVersion, match="status 500, expected 200-399") as caught:
        both.deployer().switch("green")
    assert "--force" in caught.value.hint
    assert both.state.active_version == "blue"
    assert both.processes.find(both.version("green")).alive
    both.deployer().switch("green", force=True)
    assert both.state.active_version == "green"
    assert any(event.warns and "--force" in event.text for event in both.seen(Noted))


def test_switch_to_a_stopped_version_is_refused(both: Rehearsal) -> None:
    both.deployer().stop("green")
    with pytest.raises(UnhealthyVersion, match="nothing listens"):
        both.deployer().switch("green")
    assert both.seen(Diagnosed)[0].log_tail == ()


def test_switch_to_the_active_version_checks_it_and_changes_nothing(both: Rehearsal) -> None:
    before = both.state
    both.deployer().switch("blue")
    assert both.state == before
    (both.home / "broken").touch()
    with pytest.raises(UnhealthyVersion) as caught:
        both.deployer().switch("blue")
    assert "restart blue" in caught.value.hint


def test_switch_waits_for_the_old_versions_requests_when_asked(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"blue": [1, 0]})
    both.deployer().switch("green", wait=True)
    assert [event.version for event in both.seen(Drained)] == ["blue"]


def test_a_drain_that_times_out_leaves_the_switch(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"blue": [1]})
    with pytest.raises(DrainTimedOut, match="1 request in flight.*green is active, blue keeps running"):
        both.deployer(drain_timeout_s=0.1).switch("green", wait=True)
    assert both.state.active_version == "green"
    entry = both.history.entries()[-1]
    assert (entry.outcome, entry.phase, entry.has_switched) == ("drain timed out", "draining", True)


def test_a_switch_can_proceed_at_the_end_of_the_time(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"blue": [1]}, [Row("GET", "/report", 8.2)])
    both.deployer(drain_timeout_s=0.1).switch("green", wait=True, on_timeout=OnTimeout.PROCEED)
    (ready,) = both.seen(ReceiptReady)
    assert ready.receipt.remaining == ("GET /report for 8.2 s",)
    assert both.outcomes()[-1] == ("switch", "done")


def test_what_the_target_gets_in_the_moment_of_the_switch_is_in_the_receipt(both: Rehearsal) -> None:
    class HeldUntilTheSwitch(FakeTraffic):
        """A request that was held is sent, and answered, as soon as the state file says so."""

        def tallies(self) -> dict[str, Tally]:
            is_sent = both.state.active_version == "green"
            return {"blue": QUIET, "green": QUIET._replace(ended=1, held=1, retried=1) if is_sent else QUIET}

    both.traffic = HeldUntilTheSwitch()
    both.deployer().switch("green")
    (ready,) = both.seen(ReceiptReady)
    green = ready.receipt.accounts["green"]
    assert (green.started, green.finished, green.held, green.retried) == (1, 1, 1, 1)


def test_a_stop_can_proceed_and_cut_what_is_left(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"green": [1]})
    both.deployer(drain_timeout_s=0.1).stop("green", on_timeout=OnTimeout.PROCEED)
    assert both.version("green").status == "stopped"


def test_a_stop_can_wait_for_as_long_as_it_takes(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"green": [1] * 8 + [0]})
    both.deployer(drain_timeout_s=0.1).stop("green", on_timeout=OnTimeout.WAIT)
    assert len(both.seen(Drained)) == 1
    assert both.version("green").status == "stopped"


def test_what_cannot_be_seen_is_not_taken_for_nothing(both: Rehearsal) -> None:
    deployment = replace(both.deployment(), blind="the router runs, and its metrics are not those of this program")
    with pytest.raises(OperatorError, match="whether green has requests in flight cannot be told") as caught:
        Deployer(deployment, both.history, "stop green").stop("green")
    assert "reload" in caught.value.hint
    assert both.version("green").status == "running"
    Deployer(deployment, both.history, "stop green").stop("green", force=True)
    assert both.version("green").status == "stopped"


@pytest.mark.parametrize(
    "command", [lambda it: it.stop("green"), lambda it: it.restart("green"), lambda it: it.deploy()]
)
def test_a_version_that_stands_in_for_the_active_one_is_not_taken_away(
    both: Rehearsal, command: Callable[[Deployer], None]
) -> None:
    both.traffic, before = FakeTraffic(down="blue"), both.state
    with pytest.raises(OperatorError, match="green has the requests of blue, which is down") as caught:
        command(both.deployer())
    assert "switch green" in caught.value.hint
    assert both.state == before
    both.deployer().stop("green", force=True)
    assert both.version("green").status == "stopped"


def test_without_a_router_there_is_nothing_to_wait_for(both: Rehearsal) -> None:
    both.deployer().switch("green", wait=True)
    assert both.seen(Noted) == [Noted("the router is not running, so blue has no requests to wait for")]


def test_a_rollback_can_be_given_while_another_command_drains(both: Rehearsal) -> None:
    draining = threading.Event()
    traffic = FakeTraffic({"blue": [1]})
    both.traffic = traffic

    def report(event: Event) -> None:
        if isinstance(event, Draining):
            draining.set()

    deployment, ends = replace(both.deployment(drain_timeout_s=30), report=report), list[str]()

    def switch_and_wait() -> None:
        with pytest.raises(TrafficTaken) as caught:
            Deployer(deployment, both.history, "switch").switch("green", wait=True)
        ends.append(str(caught.value))

    switch = threading.Thread(target=switch_and_wait)
    switch.start()
    try:
        assert draining.wait(10)
        both.deployer(lock_wait_s=0).rollback()
        assert both.state.active_version == "blue"
    finally:
        switch.join()
    assert "gave the traffic to blue meanwhile" in ends[0], "it does not wait for what flows to blue again"


def test_rollback_returns_to_the_previous_version(both: Rehearsal) -> None:
    both.deployer().switch("green")
    both.deployer().rollback()
    assert both.state.active_version == "blue"
    both.deployer().rollback()
    assert both.state.active_version == "green"


def test_rollback_starts_a_stopped_version_with_its_own_release(both: Rehearsal) -> None:
    both.deployer().switch("green")
    both.deployer().stop("blue")
    both.events.clear()
    both.deployer().rollback()
    assert [(event.version, event.release) for event in both.seen(Launched)] == [("blue", "r1")]
    assert both.state.active_version == "blue"


def test_rollback_to_a_version_that_does_not_get_healthy_changes_nothing(both: Rehearsal) -> None:
    both.deployer().switch("green")
    both.deployer().stop("blue")
    (both.home / "broken").touch()
    both.app = replace(both.app, start_timeout=0.5, health_timeout=0.5)
    with pytest.raises(UnhealthyVersion):
        both.deployer().rollback()
    assert both.state.active_version == "green"
    assert not both.processes.find(both.version("blue")).alive


def test_rollback_goes_to_a_version_that_somebody_else_runs(both: Rehearsal) -> None:
    both.deployer().switch("green")
    stranger = replace(both.version("blue"), pid=None, pid_birth=None, status="stopped")
    both.processes.record_path("blue").rename(both.home / "blue.process")
    both.store.write(put_version(both.state, stranger))
    try:
        both.deployer().rollback()
        assert both.state.active_version == "blue"
        assert both.seen(Launched) == []
    finally:
        (both.home / "blue.process").rename(both.processes.record_path("blue"))


def test_rollback_without_a_previous_version_is_refused(rehearsal: Rehearsal) -> None:
    rehearsal.deployer().start("blue")
    with pytest.raises(StateError, match="nothing to roll back to"):
        rehearsal.deployer().rollback()


# --- deploy ----------------------------------------------------------------------------------------------


def test_deploy_starts_gates_switches_and_drains(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"blue": [0, 0, 1, 0]})
    both.deployer().deploy(Overrides(release="r3"))
    assert both.state.active_version == "green"
    assert both.version("green").release == "r3"
    assert both.version("blue").status == "running"
    assert [event.version for event in both.seen(Drained)] == ["green", "blue"]
    assert both.outcomes()[-1] == ("deploy", "done")


def test_deploy_with_nothing_active_makes_blue_active(rehearsal: Rehearsal) -> None:
    rehearsal.deployer().deploy(Overrides(release="r1"))
    assert (rehearsal.state.active_version, rehearsal.version("blue").release) == ("blue", "r1")


def test_deploy_can_stop_the_old_version(both: Rehearsal) -> None:
    both.deployer().deploy(Overrides(release="r3"), stop_old=True)
    assert both.version("blue").status == "stopped"


def test_an_unhealthy_deploy_changes_nothing_for_the_clients(both: Rehearsal) -> None:
    with pytest.raises(UnhealthyVersion):
        both.deployer().deploy(Overrides(release="r3", command="false"))
    assert both.state.active_version == "blue"
    assert both.version("blue").status == "running"
    assert both.version("green").release == "r2"
    assert not both.history.entries()[-1].has_switched


def test_deploy_forgets_the_directory_and_command_of_the_release_before(both: Rehearsal) -> None:
    both.deployer().stop("green")
    both.deployer().start("green", Overrides(command=COMMAND + " # old", dir="/"))
    both.deployer().deploy(Overrides(release="r3"))
    green = both.version("green")
    assert (green.release, green.command, green.dir) == ("r3", None, None)


def test_deploy_does_not_touch_a_busy_standby(both: Rehearsal) -> None:
    both.traffic = FakeTraffic({"green": [1]})
    pid = both.version("green").pid
    with pytest.raises(DrainTimedOut, match="green was not touched"):
        both.deployer(drain_timeout_s=0.1).deploy(Overrides(release="r3"))
    assert both.version("green").pid == pid


def test_the_old_version_is_not_stopped_when_it_has_become_active_again(both: Rehearsal) -> None:
    entered: list[Phase] = []

    def report(event: Event) -> None:
        both.events.append(event)
        if isinstance(event, Drained) and event.version == "blue":
            entered.append(Phase.DRAINING)
            both.deployer().rollback()

    both.traffic = FakeTraffic()
    deployment = replace(both.deployment(), report=report)
    with pytest.raises(TrafficTaken, match="gave the traffic to blue meanwhile"):
        Deployer(deployment, both.history, "deploy").deploy(Overrides(release="r3"), stop_old=True)
    assert entered == [Phase.DRAINING]
    assert both.version("blue").status == "running"


# --- racing, killed, broken off --------------------------------------------------------------------------


def test_two_commands_at_once_run_one_after_the_other(rehearsal: Rehearsal) -> None:
    threads = [
        threading.Thread(target=lambda name=name: rehearsal.deployer(f"start {name}", lock_wait_s=30).start(name))
        for name in ("blue", "green")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {rehearsal.version(name).status for name in ("blue", "green")} == {"running"}
    assert len(rehearsal.seen(Promoted)) == 1


def test_a_command_that_has_waited_long_enough_names_the_holder(both: Rehearsal) -> None:
    before = both.state
    with both.store.lock("deploy --release=r9"), pytest.raises(LockBusy, match=r"deploy --release=r9"):
        both.deployer(lock_wait_s=0.1).switch("green")
    assert "deploy --release=r9" in both.seen(LockAwaited)[0].holder
    assert both.state == before


def test_ctrl_c_while_gating_stops_what_was_started(deployments: Deployments) -> None:
    rehearsal = deployments()
    (rehearsal.home / "broken").touch()
    deployment = rehearsal.deployment()

    def interrupt(_pause_s: float) -> None:
        raise KeyboardInterrupt

    deployment = replace(deployment, gate=replace(deployment.gate, sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        Deployer(deployment, rehearsal.history, "start blue").start("blue")
    assert rehearsal.version("blue").status == "stopped"
    assert len(rehearsal.seen(Stopped)) == 1
    assert rehearsal.outcomes() == [("start", "interrupted")]
    with rehearsal.store.lock("next"):
        pass


def test_the_next_command_says_what_a_killed_one_left_behind(both: Rehearsal) -> None:
    dead = 4_194_000  # no process has this pid: it is above what the kernel hands out in tests
    intent = Intent(Operation.DEPLOY, "deploy --release=r3", "green", "blue", "green", "r3", (Phase.GATING,))
    both.history.begin(intent).enter(Phase.GATING)
    text = both.history.path.read_text().replace(f'"pid": {os.getpid()}, "birth"', f'"pid": {dead}, "birth"')
    both.history.path.write_text(text)
    both.deployer().switch("green")
    assert both.seen(BrokenOff) == [
        BrokenOff("deploy --release=r3", dead, "gating", "the version may be running; traffic stays where it was")
    ]
    assert ("deploy", "broken off") in both.outcomes()
    both.events.clear()
    both.deployer().switch("blue")
    assert both.seen(BrokenOff) == []


def test_a_lock_whose_holder_died_before_its_intent_is_mentioned(both: Rehearsal) -> None:
    holder = {"pid": 4_194_000, "command": "switch green", "since": 2.0}
    both.store.lock_path.write_text(json.dumps(holder))
    both.deployer().switch("green")
    assert any("took over the lock of pid 4194000 (switch green)" in event.text for event in both.seen(Noted))


def test_a_version_whose_start_was_cut_off_is_found_again(both: Rehearsal) -> None:
    blank = replace(both.version("green"), status="starting", pid=None, pid_birth=None)
    pid = both.version("green").pid
    both.store.write(put_version(both.state, blank))
    settled = both.deployment().settle().version("green")
    assert (settled.status, settled.pid) == ("running", pid)


def test_a_torn_state_file_stops_every_command_before_it_does_anything(both: Rehearsal) -> None:
    good = both.store.path.read_bytes()
    both.store.path.write_bytes(good[:40])
    for command in (both.deployer().rollback, both.deployer().deploy, partial(both.deployer().switch, "green")):
        with pytest.raises(StateError, match="is not usable"):
            command()
    assert both.store.path.read_bytes() == good[:40]
    both.store.path.write_bytes(good)


def test_without_a_writable_history_nothing_is_begun(both: Rehearsal) -> None:
    before = both.state
    both.history.path.unlink()
    both.history.path.mkdir()
    with pytest.raises(StateError, match="history"):
        both.deployer().switch("green")
    assert both.state == before


def test_a_history_that_fails_at_the_end_does_not_make_the_switch_fail(
    both: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = both.history.append

    def append(line: dict[str, object]) -> None:
        if "outcome" in line:
            raise StateError("history cannot be written: No space left on device")
        real(line)

    monkeypatch.setattr(both.history, "append", append)
    both.deployer().switch("green")
    assert both.state.active_version == "green"
    assert both.seen(Noted)[-1].warns


@pytest.mark.parametrize("command", ["start", "stop", "restart", "switch"])
def test_a_name_that_is_no_version_is_a_usage_error(rehearsal: Rehearsal, command: str) -> None:
    with pytest.raises(UsageError, match="no version 'purple'"):
        getattr(rehearsal.deployer(), command)("purple")


def test_hand_written_state_can_be_switched_though_we_started_nothing(both: Rehearsal, tmp_path: Path) -> None:
    both.store.write(promote(both.state, "green", 1.0))
    both.deployer().switch("blue")
    assert both.state.active_version == "blue"


class Watched(Processes):
    """Processes that note what they are asked to start; `run` gives its child just that."""

    asked: list[Launch] = []

    def start(self, name: str, launch: Launch) -> int:
        self.asked.append(launch)
        return super().start(name, launch)


def test_a_version_that_its_manager_starts_over_and_over_has_one_record(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal.processes = watched = Watched(rehearsal.store.folder)
    records = set()
    for invocation in ("one", "two"):
        monkeypatch.setenv("INVOCATION_ID", invocation)
        rehearsal.deployer().start("blue", operation=Operation.RUN)
        records.add(rehearsal.version("blue").record)
        assert watched.asked[-1].environment["INVOCATION_ID"] == invocation
        rehearsal.deployer().stop("blue", force=True)
    assert len(records) == 1
