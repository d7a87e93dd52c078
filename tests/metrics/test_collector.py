"""`MetricsCollector` as the documentation shows it, from a user's own program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.metrics.collector import default_path
from app.metrics.shared import SharedMetrics
from app.operator_errors import ConfigError, MetricsError
from utils.monitoring import MetricsCollector


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("TRAFFIC_ROUTER_") or name == "PORT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRAFFIC_ROUTER_HOME", str(tmp_path))
    return tmp_path


def test_without_arguments_it_finds_the_routers_file(home: Path) -> None:
    assert MetricsCollector().path == home / ".local_context" / "router_metrics.mmap"


def test_file_is_sought_where_the_settings_say(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "traffic_router.toml").write_text('metrics_file = "elsewhere/m.mmap"\n')
    assert default_path() == home / "elsewhere" / "m.mmap"
    monkeypatch.setenv("TRAFFIC_ROUTER_METRICS_FILE", "/run/router/m.mmap")
    assert default_path() == Path("/run/router/m.mmap")


def test_unusable_settings_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_ROUTER_WORKERS", "many")
    with pytest.raises(ConfigError, match="many"):
        MetricsCollector()


def test_project_itself_is_the_default_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAFFIC_ROUTER_HOME")
    assert default_path().parents[1] == Path(__file__).resolve().parents[2]


def test_reading_before_any_router_ran_says_so() -> None:
    with MetricsCollector() as collector, pytest.raises(MetricsError, match="No such file"):
        collector.snapshot()


def test_what_is_recorded_is_read_beside_what_workers_count(home: Path) -> None:
    path = home / ".local_context" / "router_metrics.mmap"
    router = SharedMetrics.create_or_attach(path, 16)
    worker = router.claim_slot(os.getpid())
    worker.finish(worker.start(0, b"GET", b"/", 1), 0, status=200)
    with MetricsCollector() as collector:
        collector.record_request("blue", 200, 12.5, bytes_in=1, bytes_out=2, first_byte_ms=5, upstream_ms=4)
        collector.record_request("green", 502, 1, cause="connect_refused")
        collector.record_retry("green")
        collector.record_held("blue", 1500)
        snapshot = collector.snapshot()
        assert snapshot.overall.requests == router.snapshot().overall.requests == 3
        assert snapshot.versions["green"].causes == {"connect_refused": 1}
        assert (snapshot.versions["green"].retries, snapshot.versions["blue"].held_ms) == (1, 1500.0)
        assert [seen.role for seen in snapshot.workers] == ["worker", "script"]
        assert collector.snapshot(60).overall.requests == 3
        assert len(collector.history(5).times) == 5
    assert router.live_slots() == 1
    worker.close()
    router.close()


def test_it_makes_the_file_when_it_records_first() -> None:
    with MetricsCollector() as collector:
        collector.record_request("blue", 200, 1.0)
        assert collector.snapshot().overall.requests == 1


def test_closed_collector_opens_again() -> None:
    collector = MetricsCollector()
    for total in (1, 2):
        collector.record_request("blue", 200, 1.0)
        assert collector.snapshot().overall.requests == total
        collector.close()


def test_reader_follows_a_replaced_file(home: Path) -> None:
    with MetricsCollector() as writing, MetricsCollector() as reading:
        writing.record_request("blue", 200, 1.0)
        assert reading.snapshot().overall.requests == 1
        reading.path.unlink()
        router = SharedMetrics.create_or_attach(reading.path, 16)
        assert reading.snapshot().overall.requests == 0
        router.close()


def test_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("mine")
    with MetricsCollector(foreign) as collector, pytest.raises(MetricsError, match="not a metrics file"):
        collector.record_request("blue", 200, 1.0)


@pytest.mark.parametrize(
    ("version", "status", "cause"), [("red", 200, "none"), ("blue", 600, "none"), ("blue", 200, "bad_luck")]
)
def test_figures_that_make_no_sense_are_refused(version: str, status: int, cause: str) -> None:
    with MetricsCollector() as collector, pytest.raises(ValueError, match=r"is none of|not one of HTTP's"):
        collector.record_request(version, status, 1.0, cause=cause)
