from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from app.deploy.phases import Operation, Phase
from app.deploy.record.history import History, Intent, user_name
from app.operator_errors import StateError
from tests.state.test_store import file_size_limit
from tests.support.fake_clock import FakeSeconds

INTENT = Intent(
    Operation.DEPLOY, "deploy --release=r3", "green", "blue", "green", "r3", (Phase.LAUNCHING, Phase.GATING)
)


@pytest.fixture
def history(tmp_path: Path) -> History:
    ticks = iter(range(1000))
    return History(tmp_path / "history.jsonl", clock=lambda: float(next(ticks)), now=lambda: 1_800_000_000.0)


def test_intent_phase_and_end_make_one_entry(history: History) -> None:
    assert history.entries() == []
    at_work = history.begin(INTENT)
    at_work.enter(Phase.GATING)
    assert [entry.id for entry in history.unfinished()] == [at_work.id]
    at_work.close("unhealthy", "status 500", probes=3)
    (entry,) = history.entries()
    assert (entry.command, entry.came_from, entry.goes_to) == ("deploy --release=r3", "blue", "green")
    assert (entry.phase, entry.outcome, entry.detail, entry.duration_s) == ("gating", "unhealthy", "status 500", 1.0)
    assert (entry.at, entry.pid, entry.facts) == (1_800_000_000.0, os.getpid(), {"probes": 3})
    assert not entry.has_switched
    assert history.unfinished() == []


def test_time_and_duration_tell_the_end_however_slow_the_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = FakeSeconds()

    def fsync(descriptor: int) -> None:
        seconds.now += 2

    monkeypatch.setattr(os, "fsync", fsync)
    history = History(tmp_path / "history.jsonl", clock=seconds, now=seconds)
    began = seconds()
    history.begin(INTENT).close("done")
    (entry,) = history.entries()
    assert entry.duration_s is not None
    assert (entry.at, entry.at + entry.duration_s) == (began, began + 2)  # its last line is written at the end


def test_what_the_router_did_by_itself_is_one_whole_entry(history: History) -> None:
    history.note("failover", "blue", "green", "blue is down", 1_800_000_000.0004, "router")
    (entry,) = history.entries()
    assert (entry.command, entry.who, entry.came_from, entry.goes_to) == ("failover", "router", "blue", "green")
    assert (entry.at, entry.outcome, entry.detail) == (1_800_000_000.0, "done", "blue is down")
    assert history.unfinished() == []
    assert [link.fault for link in history.verify()] == [""]


def test_file_and_json_say_from_and_to(history: History) -> None:
    history.begin(INTENT).close("done")
    first = json.loads(history.path.read_text().splitlines()[0])
    assert (first["from"], first["to"], first["phases"]) == ("blue", "green", ["launching", "gating"])
    assert history.as_json(history.entries()[0])["to"] == "green"


def test_phases_in_their_old_spelling_are_read(history: History) -> None:
    at_work = history.begin(INTENT)
    history.append({"id": at_work.id, "phase": "posting", "phases": ["gating", "smoking", "posting", "setting"]})
    (entry,) = history.unfinished()
    assert (entry.phase, entry.has_switched) == (Phase.POST_SWITCH, True)
    assert entry.phases == ["gating", "smoke_test", "post_switch", "write_state"]


def test_lines_are_only_ever_added(history: History) -> None:
    history.begin(INTENT).close("done")
    before = history.path.read_bytes()
    history.begin(INTENT).close("done")
    assert history.path.read_bytes().startswith(before)
    assert not history.path.stat().st_mode & 0o022


def test_damaged_lines_are_skipped_and_closed(history: History) -> None:
    history.path.write_bytes(b'{"id": 7}\n[]\nnot json\n{"id": "a", "outcome": "done"}\n{"id": "b", "at"')
    history.begin(INTENT).close("done")
    assert [entry.command for entry in history.entries()] == ["deploy --release=r3"]
    assert b'"at"\n{"id"' in history.path.read_bytes()


def test_recent_entries_are_read_from_the_end_of_a_long_file(history: History) -> None:
    for _ in range(300):
        history.begin(INTENT).close("done")
    last = history.begin(INTENT)
    assert [entry.id for entry in history.unfinished()] == [last.id]


def test_a_full_disk_leaves_no_half_line(history: History) -> None:
    history.begin(INTENT).close("done")
    before = history.path.read_bytes()
    with file_size_limit(len(before) + 10), pytest.raises(StateError, match="cannot be written"):
        history.begin(INTENT)
    assert history.path.read_bytes() == before


def test_a_history_that_cannot_be_opened_or_read_is_named(history: History) -> None:
    history.path.mkdir()
    with pytest.raises(StateError, match="history.jsonl cannot be opened: Is a directory"):
        history.begin(INTENT)
    with pytest.raises(StateError, match="history.jsonl cannot be read: Is a directory"):
        history.entries()


def test_the_person_behind_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    me = pwd.getpwuid(os.getuid()).pw_name
    assert user_name() == me
    monkeypatch.setenv("SUDO_USER", "alice")
    assert user_name() == f"alice (as {me})"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert user_name() == "4000000"
