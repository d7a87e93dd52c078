"""What happens without a command is noted once, in order, few times however often, and never in anybody's way."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from app.cli import blue_green_deploy
from app.cli.entry import run
from app.deploy.processes.process_table import Found
from app.event_file import Event, EventFile
from app.event_recorder import AT_MOST, Recording
from app.facts import Restarts
from app.situation import Situation
from app.state.model import BlueGreenState, promote, with_version
from app.survey import Look
from tests.support.fake_clock import FakeSeconds
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess, running_router
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
STATE = with_version(promote(BlueGreenState(), "blue", 1.0), "blue", release="r1")
CALM = Situation("serving", "It serves.", "serving")


# --- what is worth a line -------------------------------------------------------------------------------------


def noted(words: list[str], last: str = "", step_s: float = 100.0) -> list[str]:
    clock = FakeSeconds()
    recording = Recording(last, clock)
    found = []
    for word in words:
        clock.now += step_s
        found += [event.event for event in recording.look(look(Situation(word, f"It is {word}.", word)), 5.0)]
    return found


def look(situation: Situation = CALM, found: Found | None = None, state: BlueGreenState = STATE) -> Look:
    return Look(situation, state, {"blue": found} if found is not None else {}, {}, {})


@pytest.mark.parametrize(
    ("last", "words", "events"),
    [
        ("", ["serving"] * 3, []),
        ("", ["serving", "failing", "failing", "crashed", "serving", "draining"], ["failing", "crashed", "recovered"]),
        ("", ["crashed"], ["crashed"]),
        ("crashed", ["crashed", "crashed"], []),
        ("crashed", ["serving"], ["recovered"]),
        ("", ["paused", "switched", "serving"], ["paused", "recovered"]),
    ],
    ids=["calm", "trouble and its end", "from the start", "another worker leads", "over meanwhile", "a pause"],
)
def test_changes_are_noted_once(last: str, words: list[str], events: list[str]) -> None:
    assert noted(words, last) == events


def test_flapping_is_a_few_lines_and_then_how_many_more() -> None:
    assert len(noted(["failing", "serving"] * 200, step_s=0.1)) == AT_MOST
    clock = FakeSeconds()
    recording = Recording("", clock)
    for number in range(AT_MOST + 5):
        clock.now += 0.1
        recording.look(look(Situation("failing" if number % 2 == 0 else "serving", "x", "x")), 0.0)
    clock.now += 100
    [event] = recording.look(look(Situation("crashed", "It crashed.", "x")), 0.0)
    assert event.text == "It crashed. (5 more changes in the minute before)"
    assert (event.version, event.release, event.severity) == ("blue", "r1", "no traffic")


# --- processes ------------------------------------------------------------------------------------------------

ALIVE, ENDED = Found(True, 7, supervisor=6), Found(False, 7, -9)
KEPT = Restarts(True, False, 0, 1.0, None, None, None)
RUNNING = with_version(STATE, "blue", status="running")
CRASHED = with_version(STATE, "blue", status="crashed")


def told(before: Found, after: Found, state: BlueGreenState) -> list[tuple[str, str]]:
    recording = Recording("")
    assert recording.look(look(found=before, state=RUNNING), 0.0) == [], "what was before it began is no news"
    events = recording.look(look(found=after, state=state), 1.0)
    assert recording.look(look(found=after, state=state), 2.0) == [], "it is told once"
    return [(event.event, event.text) for event in events]


def test_a_process_that_ends_by_itself_is_told_of() -> None:
    assert told(ALIVE, ENDED, CRASHED) == [("ended", "Blue r1 ended by itself (killed by SIGKILL).")]


def test_one_that_a_command_stops_is_not() -> None:
    assert told(ALIVE, ENDED, with_version(STATE, "blue", status="stopped")) == []
    assert told(ALIVE._replace(in_foreground=True), ENDED, CRASHED) == [], "its `run` says so"


def test_each_of_several_is_told_of_while_the_others_go_on() -> None:
    places = ("127.0.0.1:5005", "127.0.0.1:5015")
    recording = Recording("")
    several = with_version(RUNNING, "blue", instances=places)
    found = {"blue": ALIVE, "blue.1": ALIVE, "blue.2": ALIVE._replace(restarts=KEPT)}
    recording.look(look(state=several)._replace(found=found), 0.0)
    dead = {**found, "blue": ALIVE._replace(number=2), "blue.1": ENDED}
    events = recording.look(look(state=several)._replace(found=dead), 1.0)
    assert [event.text for event in events] == ["Blue r1, process 1, ended by itself (killed by SIGKILL)."]
    again = ALIVE._replace(pid=8, restarts=KEPT._replace(times=1, last_exit_status=3))
    events = recording.look(look(state=several)._replace(found={**dead, "blue.2": again}), 2.0)
    assert [event.event for event in events] == ["restarted"]
    drained = with_version(several, "blue", drained=places[1:])
    assert recording.look(look(state=drained)._replace(found={**dead, "blue.2": ENDED}), 3.0) == []


def test_one_that_is_started_again_is_told_of_however_fast_that_was() -> None:
    again = Found(True, 8, supervisor=6, restarts=KEPT._replace(times=1, last_exit_status=3))
    text = "Blue r1 was started again as pid 8 after it had ended (exit status 3); 1 restart so far."
    assert told(ALIVE._replace(restarts=KEPT), again, RUNNING) == [("restarted", text)]


def test_one_that_waits_for_its_restart_or_gave_up_is_told_of_so() -> None:
    waits = ENDED._replace(restarts=KEPT._replace(next_at=9.0))
    assert told(ALIVE, waits, CRASHED)[0][1].endswith("(killed by SIGKILL), and is started again.")
    gave_up = ENDED._replace(restarts=KEPT._replace(gave_up=True, times=4))
    assert told(ALIVE, gave_up, CRASHED)[0][1].endswith(", and stays down after 4 restarts in a row.")


# --- the file ---------------------------------------------------------------------------------------------------


def test_file_is_read_as_it_was_written_and_skips_what_is_none(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "events.jsonl")
    assert (file.read(), file.last()) == ([], None)
    events = [Event(float(number), "crashed", f"é {number}", "warns", "blue", "r1") for number in range(3)]
    for event in events:
        assert file.append(event) == ""
    with file.path.open("ab") as raw:
        raw.write(b'{"at": 1\nnonsense\n[]\n{"at": "x", "event": "e", "text": "t"}\n{"at": 9, "event": "torn')
    assert file.read() == events
    assert file.read(since=1.5) == events[2:]


def test_large_file_is_put_aside_and_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.event_file._LARGE_BYTES", 1000)
    file = EventFile(tmp_path / "events.jsonl")
    for number in range(100):
        file.append(Event(float(number), "e", "x" * 50))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2400
    last = file.last()
    assert last is not None and last.at == 99.0
    assert len(file.read()) > 5


def test_file_that_cannot_be_written_is_told_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").mkdir()
    assert "cannot be written: Is a directory" in EventFile(tmp_path / "events.jsonl").append(Event(0.0, "e", "t"))


# --- a router ---------------------------------------------------------------------------------------------------


def events(router: RouterProcess, *arguments: str) -> list[dict[str, Any]]:
    """What the command tells of this router."""
    out = io.StringIO()
    environ = {"TRAFFIC_ROUTER_STATE_FILE": str(router.state_file)}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        for name, value in environ.items():
            patch.setenv(name, value)
        assert run(blue_green_deploy.main, ["events", "--json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(out.getvalue())
    return found


def words(router: RouterProcess) -> list[str]:
    return [event["event"] for event in events(router)]


def test_what_happens_to_a_router_and_its_version_is_told_in_order(tmp_path: Path) -> None:
    with RawUpstream() as blue:
        with running_router(tmp_path, blue.port, workers=2, health_check_interval=0.2) as router:
            wait_until(lambda: words(router) == ["started"], "the start")
            blue.refuse()
            wait_until(lambda: words(router)[1:] == ["failing"], "the failing checks", 15)
            with RawUpstream(blue.port):
                wait_until(lambda: words(router)[2:] == ["recovered"], "the recovery", 15)
                router.reload()
                wait_until(lambda: words(router)[3:] == ["reloaded"], "the reload", 30)
            told = events(router)
            assert told[3]["text"].endswith("code and settings: no setting has changed.")
            assert told[1]["severity"] == "no traffic" and told[1]["version"] == "blue"
            assert "failing: Blue is active but failed" in router.log, "and the log has it as well"
            assert [event["at"] for event in told] == sorted(event["at"] for event in told)


def test_following_prints_what_comes_and_ends_well(tmp_path: Path) -> None:
    file = EventFile(tmp_path / ".local_context" / "events.jsonl")
    file.path.parent.mkdir()
    file.append(Event(0.0, "old", "Long ago."))
    environ = {**os.environ, "TRAFFIC_ROUTER_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "app.cli", "blue_green_deploy", "events", "--follow"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        threading.Timer(0.5, lambda: file.append(Event(time.time(), "crashed", "It crashed.", "no traffic"))).start()
        line = following.stdout.readline()
        assert "crashed     It crashed." in line
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 0
