"""Looking at a real metrics file, state file and history."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.dashboard.observer import Observer
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from app.metrics.throttled import Throttled
from app.settings.tables.router_settings import RouterConfig
from app.state.process_birth import birth
from app.state.watch import StateWatch
from tests.support.router_process import write_state

GONE_PID = 2**22 - 3
"""Above what Linux gives out by default on small machines, and never a process of the tests."""


class Scene:
    """A router's files, and an observer of them whose clock is set by hand."""

    def __init__(self, folder: Path) -> None:
        write_state(folder / "state.json", "blue", blue=5905)
        self.folder = folder
        self.seconds = 90_000.0
        self.metrics = SharedMetrics.create_or_attach(folder / "metrics", 16, lambda: int(self.seconds * 1e6))
        self.writer: SlotWriter = self.metrics.claim_slot(os.getpid())
        assert self.metrics.try_lead()
        self.metrics.fold()
        config = RouterConfig(state_file=str(folder / "state.json"), metrics_file=str(folder / "metrics"))
        watch = StateWatch(folder / "state.json")
        self.observer = Observer(config, self.metrics, watch, lambda: None, clock=lambda: self.seconds)

    def serve(self, count: int, ms: int = 20) -> None:
        """Counts requests of blue in this second."""
        for _ in range(count):
            row = self.writer.start(0, b"GET", b"/", int(self.seconds * 1e6))
            self.writer.finish(
                row, 0, status=200, bytes_out=100, total_us=ms * 1000, first_byte_us=ms * 500, upstream_us=ms * 400
            )

    def live(self, seconds: int) -> None:
        """Lets time go by, second by second."""
        for _ in range(seconds):
            self.seconds += 1
            self.metrics.fold()

    def note(self, **line: object) -> None:
        """Adds a line to the deploy history."""
        with (self.folder / "history.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.writer.close()
    made.metrics.close()


INTENT: dict[str, object] = {
    "id": "a1",
    "at": 1.0,
    "who": "me",
    "command": "blue_green_deploy switch green",
    "operation": "switch",
    "target": "green",
    "from": "blue",
    "to": "green",
    "release": None,
}


def test_requests_are_in_the_column_of_their_time(scene: Scene) -> None:
    scene.serve(7)
    scene.live(4)
    seen = scene.observer.look()
    assert seen.short.columns[-1].blue.requests == 7
    assert seen.short.columns[-2].blue.requests == 0
    assert seen.lifetime.versions["blue"].requests == 7


def test_long_past_has_columns_of_a_minute(scene: Scene) -> None:
    scene.serve(5)
    scene.live(10)
    scene.serve(6)
    scene.live(55)
    assert scene.observer.look().long.columns[-1].blue.requests == 11


def test_in_flight_is_of_this_moment_though_the_rest_is_older(scene: Scene) -> None:
    scene.observer.look()
    scene.writer.start(0, b"GET", b"/slow", int(scene.seconds * 1e6))
    seen = scene.observer.look()
    assert seen.minute.versions["blue"].in_flight == 1
    assert [row.path for row in seen.minute.rows] == ["/slow"]


def test_rates_of_workers(scene: Scene) -> None:
    scene.observer.look()
    scene.serve(10)
    scene.live(300)  # however long a look has taken, it is worth another by now
    rates = scene.observer.look().worker_rates
    assert rates[os.getpid()] > 0


def test_command_whose_process_lives_is_at_work(scene: Scene) -> None:
    scene.note(**INTENT, pid=os.getpid(), birth=birth(os.getpid()), phases=[])
    scene.note(id="a1", phase="gating")
    seen = scene.observer.look()
    assert [(entry.id, entry.phase) for entry in seen.at_work] == [("a1", "gating")]
    scene.note(id="a1", outcome="done", detail="", duration_s=1.0)
    seen = scene.observer.look()
    assert seen.at_work == []
    assert [entry.outcome for entry in seen.commands] == ["done"]


@pytest.mark.parametrize(
    ("pid", "noted"),
    [
        pytest.param(GONE_PID, "9f1c60d2-8123345", id="gone"),
        pytest.param(os.getpid(), "9f1c60d2-1", id="another's pid"),
    ],
)
def test_command_whose_process_is_gone_is_not_at_work(scene: Scene, pid: int, noted: str) -> None:
    scene.note(**INTENT, pid=pid, birth=noted, phases=[])
    seen = scene.observer.look()
    assert len(seen.commands) == 1
    assert seen.at_work == []


def test_crash_is_seen_with_its_time(scene: Scene) -> None:
    ended = time.time() - 30
    version = {"status": "running", "pid": GONE_PID, "port": 5905}
    state = {"active_version": "blue", "versions": {"blue": version}, "serial": 41}
    (scene.folder / "state.json").write_text(json.dumps(state))
    record = {"pid": GONE_PID, "supervisor": GONE_PID, "mode": "detached", "exit_status": 3, "ended_at": ended}
    (scene.folder / "blue.process").write_text(json.dumps(record))
    seen = scene.observer.look()
    assert seen.state is not None
    assert seen.state.version("blue").status == "crashed"
    assert seen.state.serial == 41, "to look is no change"
    assert seen.ended_at == {"blue": ended}


@pytest.mark.parametrize("record", [None, "", "[]", '{"ended_at": null}', '{"ended_at": "x"}'])
def test_crash_without_a_usable_record_has_no_time(scene: Scene, record: str | None) -> None:
    version = {"status": "crashed", "pid": GONE_PID, "port": 5905}
    (scene.folder / "state.json").write_text(json.dumps({"active_version": "blue", "versions": {"blue": version}}))
    if record is not None:
        (scene.folder / "blue.process").write_text(record)
    assert scene.observer.look().ended_at == {}


def test_without_a_state_file(scene: Scene) -> None:
    (scene.folder / "state.json").unlink()
    seen = scene.observer.look()
    assert seen.state is None
    assert "missing" in seen.state_fault


class TestThrottled:
    """What is costly is done less often"""

    @pytest.mark.parametrize(("cost_s", "age_s"), [(0.0001, 0.9), (0.002, 1.9), (0.02, 19.9)])
    def test_value_is_kept_for_a_thousand_times_its_cost(self, cost_s: float, age_s: float) -> None:
        now, work, made = [100.0], [0.0], []

        def make() -> int:
            work[0] += cost_s
            made.append(now[0])
            return len(made)

        value = Throttled(make, lambda: now[0], lambda: work[0])
        assert value.value() == 1
        now[0] = 100 + age_s - 0.05
        assert value.value() == 1
        now[0] = 100 + age_s + 0.05
        assert value.value() == 2
