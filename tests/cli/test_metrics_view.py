"""`metrics` says what requests failed by, where any did."""

from __future__ import annotations

from typing import Any

from app.cli.metrics_view import metrics_lines


def metrics(**versions: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a router in which these versions' requests failed."""
    total = {"total_requests": 100, "successful_requests": 61, "failed_requests": 39, "success_rate": 61.0}
    rest = {"bytes_proxied": 1, "avg_request_time_ms": 1.0, "version_requests": {"blue": 100, "green": 0}}
    return {**total, **rest, "versions": versions}


def test_failures_by_cause() -> None:
    blue = {"code_classes": {"5xx": 35}, "causes": {"upstream_reset": 4, "client_disconnected": 9, "read_timeout": 1}}
    green = {"code_classes": {}, "causes": {"upstream_truncated": 4}}
    lines = metrics_lines(metrics(blue=blue, green=green))
    assert [line.split(maxsplit=2) for line in lines[lines.index("") :][-5:]] == [
        ["Version", "Failed", "by"],
        ["blue", "30", "the application's own 5xx"],
        ["green", "4", "upstream_truncated"],
        ["blue", "4", "upstream_reset"],
        ["blue", "1", "read_timeout"],
    ]


def test_nothing_is_said_where_nothing_failed() -> None:
    lines = metrics_lines(metrics(blue={"code_classes": {"2xx": 100}, "causes": {"client_disconnected": 3}}))
    assert [line for line in lines if "by" in line.split()] == []


def test_backends_have_a_line_each_where_a_version_has_several() -> None:
    def backend(address: str, state: str = "ok", reason: str | None = None, left_s: float | None = None) -> object:
        known = {"address": address, "state": state, "reason": reason, "ejected_for_s": left_s}
        return {**known, "in_flight": 2, "requests": 12_345, "failures": 7}

    rows = [backend("10.0.0.7:8000"), backend("unix:/run/x", "ejected", "too many requests failed in a row", 4.4)]
    lines = metrics_lines(metrics(blue={"backends": rows}, green={}))
    assert [line.split(maxsplit=5) for line in lines[-3:]] == [
        ["Backend", "Requests", "Failures", "In", "flight", "State"],
        ["blue", "10.0.0.7:8000", "12,345", "7", "2", "ok"],
        ["blue", "unix:/run/x", "12,345", "7", "2", "ejected for 4 s more (too many requests failed in a row)"],
    ]
    assert lines[-4] == ""
