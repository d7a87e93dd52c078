"""Launch, reconciliation, gate, drain and log: the small parts, on their own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.address import Address
from app.deploy.drain import Drain, OnTimeout
from app.deploy.events import Drained, Draining, Event, Noted, Overdue, Probed
from app.deploy.judge.gate import Gate
from app.deploy.processes.launch import Launch, clean_environment, launch_of
from app.deploy.processes.log_file import follow, size, tail
from app.deploy.processes.process_table import Found
from app.deploy.processes.reconcile import as_found, ending_text
from app.deploy.release.making import make
from app.operator_errors import ConfigError
from app.settings.tables.app_settings import AppConfig
from app.state.model import Status, VersionState
from app.upstream.probe import ProbeResult
from tests.deploy.rehearsal import FakeTraffic, Rehearsal, Row

BLUE = VersionState("blue", 8001, release="r 1")
GOOD = ProbeResult(True, 200, 1.0)
BAD = ProbeResult(False, 500, 1.0, reason="status 500, expected 200-399")


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


# --- launch ----------------------------------------------------------------------------------------------


@pytest.fixture
def launch(rehearsal: Rehearsal) -> Callable[..., Launch]:
    """Works out what would be executed for a version with such settings."""

    def work_out(version: VersionState, **settings: str) -> Launch:
        rehearsal.app = AppConfig(**settings)  # type: ignore[arg-type]  # fields by name
        return launch_of(make(rehearsal.deployment(), version), version, rehearsal.app.address)

    return work_out


def test_placeholders_are_filled_into_arguments_not_into_a_shell(launch: Callable[..., Launch]) -> None:
    command = "echo --port={port} '{release}' {version} '{\"a\": {}}' {dir}"
    made = launch(replace(BLUE, release="r 1; rm"), command=command, dir="/")
    assert made.arguments == ("echo", "--port=8001", "r 1; rm", "blue", '{"a": {}}', "{dir}")
    assert shlex.split(made.command) == list(made.arguments)


def test_what_the_version_was_started_with_wins_over_the_settings(
    launch: Callable[..., Launch], tmp_path: Path
) -> None:
    version = replace(BLUE, release="r7", dir=str(tmp_path / "{release}"), command="echo own")
    (tmp_path / "r7").mkdir()
    made = launch(version, command="echo configured")
    assert (made.arguments, made.directory) == (("echo", "own"), tmp_path / "r7")


def test_without_a_command_the_demo_runs_in_its_own_directory(launch: Callable[..., Launch]) -> None:
    made = launch(BLUE)
    assert made.arguments[:3] == (sys.executable, "-m", "gunicorn")
    assert "127.0.0.1:8001" in made.arguments
    assert "--no-control-socket" in made.arguments
    assert made.directory.name == "demo"
    assert not (made.directory / "gunicorn.conf.py").exists()


def test_a_program_in_the_directory_is_found_there(launch: Callable[..., Launch], tmp_path: Path) -> None:
    (tmp_path / "serve").write_text("#!/bin/sh\n")
    with pytest.raises(ConfigError, match="serve is not executable") as caught:
        launch(BLUE, command="./serve", dir=str(tmp_path))
    assert caught.value.hint == f"chmod +x {tmp_path}/serve"
    (tmp_path / "serve").chmod(0o755)
    assert launch(BLUE, command="./serve", dir=str(tmp_path)).arguments == ("./serve",)


def test_our_own_environment_does_not_leak_and_the_users_stays() -> None:
    environ = {
        "PATH": "/opt/ours/bin:/usr/bin:/opt/ours/bin",
        **{"HOME": "/home/a", "LANG": "C.UTF-8", "DATABASE_URL": "db", "PYTHONUNBUFFERED": "1"},
        **{"VIRTUAL_ENV": "/opt/ours", "PYTHONPATH": "/x", "PYTHONHOME": "/x", "GUNICORN_CMD_ARGS": "-w 9"},
        **{"TRAFFIC_ROUTER_WORKERS": "2", "TRAFFIC_ROUTER_HOME": "/x", "PORT": "1", "BG_VERSION": "green"},
        **{"LISTEN_FDS": "1", "LISTEN_PID": "1", "NOTIFY_SOCKET": "/run/x"},
    }
    assert clean_environment(environ, "/opt/ours") == {
        **{"PATH": "/usr/bin", "HOME": "/home/a", "LANG": "C.UTF-8", "DATABASE_URL": "db"},
        "PYTHONUNBUFFERED": "1",
    }
    assert clean_environment({}, "/opt/ours") == {}
    assert clean_environment({"PATH": "/usr/bin"}, None) == {"PATH": "/usr/bin"}, "where we are one of many"


# --- reconcile -------------------------------------------------------------------------------------------

ALIVE, DEAD, NEVER = Found(True, 7), Found(False, 7, 3), Found(False)


@pytest.mark.parametrize(
    ("recorded", "found", "settled", "expected", "exit_status"),
    [
        ("running", ALIVE, False, "running", None),
        ("stopped", ALIVE, False, "running", None),
        ("crashed", ALIVE, True, "running", None),
        ("starting", ALIVE, False, "starting", None),
        ("starting", ALIVE, True, "running", None),
        ("stopping", ALIVE, False, "stopping", None),
        ("stopping", ALIVE, True, "running", None),
        ("running", DEAD, False, "crashed", 3),
        ("starting", DEAD, True, "crashed", 3),
        ("stopping", DEAD, False, "stopped", 3),
        ("stopped", DEAD, False, "stopped", None),
        ("starting", NEVER, False, "starting", None),
        ("starting", NEVER, True, "stopped", None),
        ("running", NEVER, True, "running", None),
    ],
)
def test_status_as_found(recorded: Status, found: Found, settled: bool, expected: str, exit_status: int | None) -> None:
    version = as_found(replace(BLUE, status=recorded), found, is_settled=settled)
    assert (version.status, version.exit_status) == (expected, exit_status)


@pytest.mark.parametrize(
    ("status", "text"),
    [(None, "exit status unknown"), (3, "exit status 3"), (-9, "killed by SIGKILL"), (-40, "killed by signal 40")],
)
def test_endings_in_words(status: int | None, text: str) -> None:
    assert ending_text(status) == text


# --- gate ------------------------------------------------------------------------------------------------


PLACE = Address("127.0.0.1", 1)


def gate(results: list[ProbeResult], events: list[Event], **app: float) -> Gate:
    clock, script = Clock(), iter(results)
    settings = {"start_timeout": 1, "healthy_after": 2, "health_timeout": 0.1, **app}
    config = AppConfig(**settings)  # type: ignore[arg-type]  # fields by name
    return Gate(config, events.append, lambda address, app: next(script), clock, clock.sleep)


def test_successes_must_come_in_a_row() -> None:
    events: list[Event] = []
    verdict = gate([BAD, GOOD, BAD, GOOD, GOOD], events).wait("blue", PLACE, lambda: True)
    assert verdict.reason == ""
    assert [event.streak for event in events if isinstance(event, Probed)] == [0, 1, 0, 1, 2]


def test_the_gate_closes_at_the_deadline_and_keeps_the_last_probes() -> None:
    verdict = gate([BAD] * 100, []).wait("blue", PLACE, lambda: True)
    assert verdict.reason == f"{BAD.reason}, 1 s after its start"
    assert len(verdict.probes) == 5
    assert verdict.probes[-1].elapsed_s == pytest.approx(1.0)


def answers(status: int, count: int, location: str = "") -> list[ProbeResult]:
    return [ProbeResult(False, status, 1.0, location, b"", f"status {status}, expected 200-399")] * count


@pytest.mark.parametrize(
    ("results", "at"),
    [
        (answers(404, 9), [3]),
        (answers(404, 2) + answers(503, 1) + answers(404, 6), [6]),
        (answers(404, 3) + answers(401, 6), [3, 6]),
        (answers(503, 9), []),
        ([BAD] * 9, []),
        (answers(404, 2) + [GOOD] + answers(404, 2) + [GOOD] * 9, []),
    ],
    ids=["at once", "in a row only", "each kind", "may pass by itself", "no answer", "now and then"],
)
def test_answers_that_no_wait_will_change_are_explained_once(results: list[ProbeResult], at: list[int]) -> None:
    events: list[Event] = []
    verdict = gate(results + results[-1:] * 100, events, start_timeout=1.6).wait("blue", PLACE, lambda: True)
    probes = [
        sum(isinstance(one, Probed) for one in events[:i]) for i, it in enumerate(events) if isinstance(it, Noted)
    ]
    assert probes == at
    assert not at or "[app] health_" in verdict.reason, "the last word has it as well"


def test_a_stranger_on_the_port_does_not_pass_for_a_dead_version() -> None:
    verdict = gate([GOOD] * 10, []).wait("blue", PLACE, lambda: False)
    assert verdict.reason == "it has ended"


def test_confirming_stops_at_the_first_bad_answer() -> None:
    events: list[Event] = []
    verdict = gate([GOOD, BAD], events, healthy_after=3).confirm("blue", PLACE)
    assert verdict.reason == BAD.reason
    assert [event.streak for event in events if isinstance(event, Probed)] == [1, 0]
    assert gate([GOOD] * 3, events, healthy_after=3).confirm("blue", PLACE).reason == ""


# --- drain -----------------------------------------------------------------------------------------------


def drain(traffic: FakeTraffic, events: list[Event]) -> Drain:
    clock = Clock()
    return Drain(traffic, events.append, clock, clock.sleep)


def test_a_drain_wants_to_see_nothing_twice() -> None:
    events: list[Event] = []
    assert drain(FakeTraffic({"blue": [0, 1, 0, 1, 0, 0]}), events).wait(["blue"], 10).is_complete
    assert events[-1] == Drained("blue", pytest.approx(0.25))  # type: ignore[arg-type]  # approx stands in


def test_a_drain_reports_what_remains_at_the_deadline() -> None:
    events: list[Event] = []
    traffic = FakeTraffic({"blue": [3]}, [Row("GET", "/a", 1.0), Row("GET", "/report", 8.2)])
    outcome = drain(traffic, events).wait(["blue"], 1.0)
    assert (outcome.remaining, outcome.named) == (3, ("GET /report for 8.2 s", "GET /a for 1.0 s"))
    looks = [event for event in events if isinstance(event, Draining)]
    assert len(looks) == 2
    assert looks[0].oldest == "GET /report"


def test_a_drain_goes_without_rows() -> None:
    events: list[Event] = []
    assert drain(FakeTraffic({"blue": [1]}), events).wait(["blue"], 0.1).remaining == 1
    assert [event.oldest for event in events if isinstance(event, Draining)] == [""]


def test_a_drain_can_wait_on_after_telling_what_remains() -> None:
    events: list[Event] = []
    traffic = FakeTraffic({"blue": [1] * 10 + [0]}, [Row("GET", "/report", 8.2)])
    assert drain(traffic, events).wait(["blue"], 0.1, OnTimeout.WAIT).is_complete
    overdue = [event for event in events if isinstance(event, Overdue)]
    assert [(event.in_flight, event.named, event.will_wait) for event in overdue] == [
        (1, ("GET /report for 8.2 s",), True)
    ]
    assert isinstance(events[-1], Drained)


def test_worker_that_looks_at_no_state_is_not_waited_for_for_ever() -> None:
    traffic = FakeTraffic(known=[False])
    drain(traffic, []).wait_for_workers(7)
    assert set(traffic.asked) == {7}
    assert 100 < len(traffic.asked) < 200


def test_a_drain_of_both_versions_adds_them_up() -> None:
    events: list[Event] = []
    traffic = FakeTraffic({"blue": [1, 0], "green": [2, 0]})
    assert drain(traffic, events).wait(["blue", "green"], 10).is_complete
    looks = [event for event in events if isinstance(event, Draining)]
    assert [(look.version, look.in_flight) for look in looks] == [("blue and green", 3)]


# --- log -------------------------------------------------------------------------------------------------


def test_tail_gives_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert (tail(log, 3), size(log)) == ([], 0)
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(100_000)) + b"\xff no end")
    assert tail(log, 2) == ["line 99999", "\ufffd no end"]
    assert tail(log, 0) == []
    assert tail(log, 9, begin=size(log) - 3) == ["end"]


def added(lines: Iterator[str]) -> str:
    return next(lines)


def test_follow_gives_what_is_added_and_survives_rotation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    changes: list[Callable[[], object]] = [
        lambda: log.write_text("after\n"),  # the file appears
        lambda: log.write_text("cut\n"),  # copytruncate
        lambda: (log.rename(tmp_path / "log.1"), log.write_text("a new and longer file\n")),  # logrotate
    ]

    def sleep(_pause_s: float) -> None:
        changes.pop(0)()

    lines = follow(log, sleep)
    assert [added(lines) for _ in range(4)] == ["", "after\n", "cut\n", "a new and longer file\n"]


def test_follow_begins_at_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")

    def sleep(_pause_s: float) -> None:
        with log.open("a") as file:
            file.write("added\n")

    lines = follow(log, sleep)
    assert [added(lines), added(lines)] == ["", "added\n"]
