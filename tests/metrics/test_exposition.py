"""`/__router_metrics`: the formats, the documented fields, and what comes on top."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CAUSES, MalformedRequest
from app.limits.limit_figures import LimitFigures, RefusedKey
from app.metrics.exposition import as_json, chosen_format, rounded, success_rate, window_seconds
from app.metrics.shared import SharedMetrics
from app.metrics.slot import SlotWriter
from tests.metrics.conftest import Answer
from tests.support.fake_clock import FakeClock

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param("", "json", id="nothing said"),
        pytest.param("*/*", "json", id="curl"),
        pytest.param(BROWSER, "json", id="browser"),
        pytest.param("application/json", "json", id="json"),
        pytest.param("text/plain;version=0.0.4", "prometheus", id="text"),
        pytest.param("text/*", "prometheus", id="text range"),
        pytest.param("text/plain;q=0.5, application/json;q=0.4", "prometheus", id="text preferred"),
        pytest.param("text/plain;q=0, */*", "json", id="text refused"),
        pytest.param("text/plain;q=abc, application/json;q=0.1", "json", id="weight that is none"),
        pytest.param("text/plain;q=9, application/json;q=0.1", "json", id="weight out of range"),
        pytest.param("application/openmetrics-text", "openmetrics", id="openmetrics"),
        pytest.param(PROMETHEUS_3, "openmetrics", id="prometheus 3"),
        pytest.param("image/png", "json", id="nothing we have"),
    ],
)
def test_accept_chooses_the_format(accept: str, form: str) -> None:
    assert chosen_format(None, accept) == form


@pytest.mark.parametrize("form", ["json", "prometheus", "openmetrics"])
def test_parameter_overrides_accept(form: str) -> None:
    assert chosen_format(form, "application/json" if form != "json" else "text/plain") == form


def test_unknown_format_is_the_clients_mistake() -> None:
    with pytest.raises(MalformedRequest, match="json, prometheus, openmetrics"):
        chosen_format("xml", "*/*")


@pytest.mark.parametrize(("text", "seconds"), [(None, None), ("1", 1), ("60", 60), ("21600", 21_600)])
def test_window_is_a_number_of_seconds(text: str | None, seconds: int | None) -> None:
    assert window_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "21601", "60s", "٣", "9" * 5000])
def test_window_that_is_none_is_the_clients_mistake(text: str) -> None:
    with pytest.raises(MalformedRequest, match="1 to 21600"):
        window_seconds(text)


@pytest.mark.parametrize(
    ("requests", "failed", "rate"),
    [(1024, 4, 99.6), (0, 0, 100.0), (10_000, 1, 99.9), (1_000_000, 1, 99.9), (3, 3, 0.0), (7, 0, 100.0)],
)
def test_success_rate(requests: int, failed: int, rate: float) -> None:
    assert success_rate(requests, failed) == rate


@given(st.integers(1, 10**12), st.integers(0, 10**12))
def test_100_per_cent_means_none_failed(requests: int, failed: int) -> None:
    failed = min(failed, requests)
    rate = success_rate(requests, failed)
    assert (rate == 100.0) == (failed == 0)
    assert rate == round(rate, 1)


@pytest.mark.parametrize(
    ("ms", "shown"), [(0.0, 0.0), (0.0125, 0.0125), (1.23456, 1.23), (45.678, 45.7), (1234.56, 1234.6)]
)
def test_rounding_keeps_what_the_buckets_can_tell_apart(ms: float, shown: float) -> None:
    assert rounded(ms) == shown


def report(metrics: SharedMetrics, window_s: int | None = None) -> dict[str, Any]:
    """As a client gets it."""
    found: dict[str, Any] = json.loads(json.dumps(as_json(metrics.snapshot(window_s)), allow_nan=False))
    return found


def test_documented_fields_come_first_with_their_types(metrics: SharedMetrics, answer: Answer) -> None:
    for status in (200, 200, 502):
        answer(status=status, bytes_in=100, bytes_out=1000, total_us=45_200)
    answer(version=1, total_us=45_200)
    figures = report(metrics)
    documented = {
        "total_requests": 4,
        "successful_requests": 3,
        "failed_requests": 1,
        "success_rate": 75.0,
        "bytes_proxied": 3300,
        "avg_request_time_ms": 45.2,
        "version_requests": {"blue": 3, "green": 1},
    }
    assert list(figures)[: len(documented)] == list(documented)
    assert {name: figures[name] for name in documented} == documented
    assert [type(figures[name]) for name in documented] == [type(value) for value in documented.values()]


def test_nothing_happened_yet_is_valid_too(metrics: SharedMetrics) -> None:
    figures = report(metrics)
    assert (figures["total_requests"], figures["success_rate"], figures["avg_request_time_ms"]) == (
        0,
        100.0,
        0.0,
    )
    assert set(figures["latency_ms"].values()) == {None}


def test_what_comes_on_top(metrics: SharedMetrics, writer: SlotWriter, answer: Answer, clock: FakeClock) -> None:
    answer(status=404)
    answer(status=504, cause=CAUSES.index("read_timeout"), total_us=30_000_000)
    answer(version=2, status=503, cause=CAUSES.index("no_active_version"), first_byte_us=-1, upstream_us=-1)
    cut = writer.start(0, b"GET", b"/big", clock(), b"id-1")
    writer.count_cut(cut, 0, CAUSES.index("upstream_truncated"), clock())
    writer.unclaim(cut, 0)
    writer.count_held(0, 1_500_000)
    writer.start(1, b"GET", b"/slow", clock(), b"id-2")
    clock.advance(8.25)
    metrics.try_lead()
    metrics.write_probe(0, 1700000000.25, False, 0, 1500, "refused")
    figures = report(metrics)
    assert figures["window_s"] is None
    assert figures["uptime_s"] == 8.2
    assert figures["in_flight"] == 1
    assert figures["latency_ms"]["max"] == 30_000.0
    assert figures["code_classes"] == {"4xx": 1, "5xx": 2}
    assert figures["statuses"] == {"404": 1, "503": 1, "504": 1}
    assert figures["causes"] == {"read_timeout": 1, "no_active_version": 1}
    assert [figures["versions"][name]["requests"] for name in ("blue", "green", "router")] == [2, 0, 1]
    assert figures["versions"]["blue"]["success_rate"] == 50.0
    assert figures["versions"]["router"]["upstream_ms"]["p50"] is None
    [row] = figures["oldest_in_flight"]
    green_slow = {"version": "green", "method": "GET", "path": "/slow"}
    assert row == {**green_slow, "age_s": 8.25, "pid": row["pid"], "request_id": "id-2"}
    blue_big = {"version": "blue", "method": "GET", "path": "/big"}
    assert figures["last_cut"] == [{**blue_big, "cause": "upstream_truncated", "request_id": "id-1"}]
    assert (figures["cut_requests"], figures["held_requests"], figures["held_ms"]["max"]) == (1, 1, 1500.0)
    [worker] = figures["workers"]
    assert (worker["requests"], worker["role"], worker["is_leader"]) == (3, "worker", True)
    assert figures["probes"]["blue"] == [
        {"at": 1700000000.25, "ok": False, "status": 0, "latency_ms": 1.5, "reason": "refused"}
    ]
    assert (figures["state_fault"], figures["metrics_fault"]) == (False, "")


def test_window_has_the_documented_fields_and_leaves_out_what_it_lacks(
    metrics: SharedMetrics, answer: Answer, clock: FakeClock
) -> None:
    metrics.try_lead()
    answer(bytes_out=5)
    clock.advance(1)
    metrics.fold()
    clock.advance(29)
    metrics.fold()
    answer(bytes_out=6)
    figures = report(metrics, 10)
    assert (figures["window_s"], figures["total_requests"], figures["bytes_proxied"]) == (10, 1, 6)
    assert not {"statuses", "held_ms", "cut_requests"} & figures.keys()
    assert "upstream_ms" not in figures["versions"]["blue"]
    assert report(metrics, 60)["total_requests"] == 2


def test_only_the_oldest_requests_in_flight_are_listed(
    metrics: SharedMetrics, writer: SlotWriter, clock: FakeClock
) -> None:
    for number in range(60):
        writer.start(0, b"GET", b"/%d" % number, clock())
        clock.advance(1)
    figures = report(metrics)
    assert figures["in_flight"] == 60
    assert [row["path"] for row in figures["oldest_in_flight"]] == [f"/{number}" for number in range(50)]


def test_limits_are_told_only_where_there_are_any(metrics: SharedMetrics) -> None:
    limits, refused = [LimitFigures("login", 5, 2, 1, 0)], [RefusedKey("login", "10.0.0.7", 2, 1.26)]
    told = as_json(metrics.snapshot()._replace(limits=limits, refused=refused))

    assert told["limits"] == [{"name": "login", "passed": 5, "refused": 2, "delayed": 1, "would_refuse": 0}]
    assert told["last_refused"] == [{"limit": "login", "key": "10.0.0.7", "times": 2, "ago_s": 1.3}]
    assert "limits" not in report(metrics) and "last_refused" not in report(metrics)
