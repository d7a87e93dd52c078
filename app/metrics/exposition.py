"""What `/__router_metrics` answers: which format is wanted, and the JSON one.

The documented fields come first and keep their names, types and rounding; everything else is additional.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from app.errors import MalformedRequest
from app.metrics.backend_rows import BackendRow
from app.metrics.snapshot import (
    CutRequest,
    FailedRequest,
    InFlightRow,
    Latency,
    Probe,
    Snapshot,
    VersionStats,
    WorkerStats,
)
from app.state.model import VERSIONS

Format = Literal["json", "prometheus", "openmetrics"]

_MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "prometheus": "text/plain",
    "openmetrics": "application/openmetrics-text",
}
MAX_WINDOW_S = 21_600  # the six hours that the history reaches back
MAX_ROWS = 50  # of the requests in flight, the oldest ones are what one looks for


def chosen_format(parameter: str | None, accept: str) -> Format:
    """The format asked for by `?format=`, else the one that the `Accept` field likes best (RFC 9110 §12.5.1).

    JSON when all are equally welcome, as to curl, or none is, as to a browser. Raises MalformedRequest for an
    unknown `?format=`.
    """
    if parameter:
        for name in _MEDIA_TYPES:
            if parameter == name:
                return name
        raise MalformedRequest(f"format {parameter!r} is none of {', '.join(_MEDIA_TYPES)}")
    weights = _weights(accept)
    return max(_MEDIA_TYPES, key=lambda name: _weight_of(_MEDIA_TYPES[name], weights))


def _weights(accept: str) -> dict[str, float]:
    """Media range → weight."""
    weights: dict[str, float] = {}
    for member in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in member.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = _number(value)
        weights[media_range] = max(weight, weights.get(media_range, 0.0))
    return weights


def _number(text: str) -> float:
    """A weight; 0 for what is not one."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0


def _weight_of(media_type: str, weights: dict[str, float]) -> float:
    """The weight of the most specific range that covers a media type."""
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((weights[media_range] for media_range in ranges if media_range in weights), 0.0)


def window_seconds(parameter: str | None) -> int | None:
    """The value of `?window=`; None when there is none. Raises MalformedRequest unless it is 1…21600."""
    if parameter is None:
        return None
    if parameter.isascii() and parameter.isdigit() and 1 <= int(parameter[:9]) <= MAX_WINDOW_S:
        return int(parameter[:9])
    raise MalformedRequest(f"window is a number of seconds from 1 to {MAX_WINDOW_S}")


def success_rate(requests: int, failed: int) -> float:
    """The share of requests that did not fail, in per cent with one decimal.

    Rounded down, so that 100.0 means "none failed" and nothing else; 100.0 as well when there were no
    requests.
    """
    if not requests:
        return 100.0
    return (requests - failed) * 1000 // requests / 10


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """The JSON object of `/__router_metrics`; values are of any JSON type."""
    overall = snapshot.overall
    return {
        "total_requests": overall.requests,
        "successful_requests": overall.successful,
        "failed_requests": overall.failed,
        "success_rate": success_rate(overall.requests, overall.failed),
        "bytes_proxied": overall.bytes_proxied,
        "avg_request_time_ms": average_ms(overall.total),
        "version_requests": {name: snapshot.versions[name].requests for name in VERSIONS},
        "window_s": snapshot.window_s,
        "uptime_s": round(snapshot.uptime_s, 1),
        "in_flight": overall.in_flight,
        "held": snapshot.held,
        "queued": snapshot.queued,
        "latency_ms": _latency(overall.total),
        **_breakdown(overall),
        "versions": {
            name: _version(stats) | backends_member(snapshot.backends.get(name, ()))
            for name, stats in snapshot.versions.items()
        },
        "oldest_in_flight": [_row(row) | _backend(snapshot, row) for row in snapshot.rows[:MAX_ROWS]],
        "last_failed": [_failed(one) | _backend(snapshot, one) for one in snapshot.failures[-MAX_ROWS:]],
        "last_cut": [_cut(cut) | _backend(snapshot, cut) for cut in snapshot.cuts[-MAX_ROWS:]],
        "workers": [_worker(worker) for worker in snapshot.workers],
        **_limits(snapshot),
        "probes": {name: [_probe(probe) for probe in probes] for name, probes in snapshot.probes.items()},
        **({} if snapshot.logins is None else {"logins": snapshot.logins.as_json()}),
        "failover": {
            "version": snapshot.failover.version,
            "workers": snapshot.failover.workers,
            "since": snapshot.failover.since and round(snapshot.failover.since, 3),
            "count": snapshot.failover.count,
        },
        "state_fault": snapshot.state_fault,
        "metrics_fault": snapshot.fault,
        "log_fault": snapshot.log_fault,
        "lost_log_lines": snapshot.lost_lines,
    }


def _limits(snapshot: Snapshot) -> dict[str, Any]:
    """The members about limits; nothing where there are none."""
    if not snapshot.limits:
        return {}
    refused = [one._asdict() | {"ago_s": round(one.ago_s, 1)} for one in snapshot.refused[:MAX_ROWS]]
    return {"limits": [limit._asdict() for limit in snapshot.limits], "last_refused": refused}


def backends_member(rows: Iterable[BackendRow], member: str = "backends") -> dict[str, Any]:
    """The member that lists the backends of a version that has several; nothing of one that has one."""
    found = [
        {
            "address": row.address,
            "state": row.state,
            "reason": row.reason or None,
            "ejected_for_s": round(row.ejected_for_s, 1) or None,
            "in_flight": row.in_flight,
            "requests": row.requests,
            "failures": row.failures,
        }
        for row in rows
    ]
    return {member: found} if found else {}


def _version(stats: VersionStats) -> dict[str, Any]:
    return {
        "requests": stats.requests,
        "successful": stats.successful,
        "failed": stats.failed,
        "success_rate": success_rate(stats.requests, stats.failed),
        "bytes_proxied": stats.bytes_proxied,
        "avg_request_time_ms": average_ms(stats.total),
        "in_flight": stats.in_flight,
        "latency_ms": _latency(stats.total),
        **_breakdown(stats),
    }


def _breakdown(stats: VersionStats) -> dict[str, Any]:
    """What both the whole and each version tell beyond the documented fields; a window leaves out what it
    lacks.
    """
    figures: dict[str, Any] = {
        "code_classes": {name: count for name, count in stats.code_classes.items() if count},
        "causes": dict(stats.causes),
        "aborted_requests": stats.aborted,
        "retries": stats.retries,
        "held_requests": stats.held,
    }
    if stats.first_byte is not None and stats.upstream is not None and stats.holds is not None:
        figures |= {
            "cut_requests": stats.cut,
            "statuses": {str(code): count for code, count in stats.statuses.items()},
            "first_byte_ms": _latency(stats.first_byte),
            "upstream_ms": _latency(stats.upstream),
            "held_ms": _latency(stats.holds),
            "queued_requests": stats.queue.waits,
            "longest_queued_ms": rounded(stats.queue.longest_ms),
            "bytes_in": stats.bytes_in,
            "bytes_out": stats.bytes_out,
        }
    return figures


def _latency(latency: Latency) -> dict[str, float | None]:
    figures = {
        "p50": latency.p50_ms,
        "p90": latency.p90_ms,
        "p95": latency.p95_ms,
        "p99": latency.p99_ms,
        "max": latency.max_ms,
    }
    return {name: None if ms is None else rounded(ms) for name, ms in figures.items()}


def average_ms(latency: Latency) -> float:
    """The mean with one decimal, 0.0 without requests; rounded down where it would else be above the maximum."""
    if latency.mean_ms is None or latency.max_ms is None:
        return 0.0
    mean = round(latency.mean_ms, 1)
    return mean if mean <= rounded(latency.max_ms) else math.floor(latency.mean_ms * 10) / 10


def rounded(value: float) -> float:
    """Three significant digits below 10, which is what the buckets can tell apart, and one decimal above, as the
    average has: beside it a maximum without any would look smaller.
    """
    if value < 0.001:
        return 0.0
    return round(value, max(1, 2 - math.floor(math.log10(value))))


def _backend(snapshot: Snapshot, one: InFlightRow | CutRequest | FailedRequest) -> dict[str, Any]:
    """The member that says which backend had a request, of a version that has several."""
    address = snapshot.address_of(one)
    return {"backend": address} if address else {}


def _row(row: InFlightRow) -> dict[str, Any]:
    return {
        "version": row.version,
        "method": row.method,
        "path": row.path,
        "age_s": round(row.age_s, 3),
        "pid": row.pid,
        "request_id": row.request_id,
    }


def _cut(cut: CutRequest) -> dict[str, Any]:
    return {
        "version": cut.version,
        "method": cut.method,
        "path": cut.path,
        "cause": cut.cause,
        "request_id": cut.request_id,
    }


def _failed(one: FailedRequest) -> dict[str, Any]:
    return {
        "at": round(one.at, 3),
        "version": one.version,
        "method": one.method,
        "path": one.path,
        "status": one.status,
        "cause": one.cause or None,
        "took_ms": rounded(one.took_ms),
        "request_id": one.request_id,
    }


def _worker(worker: WorkerStats) -> dict[str, Any]:
    return {
        "pid": worker.pid,
        "role": worker.role,
        "started_at": round(worker.started_at, 3),
        "heartbeat_age_s": round(worker.heartbeat_age_s, 1),
        "requests": worker.requests,
        "in_flight": worker.in_flight,
        "held": worker.held,
        "queued": worker.queued,
        "connections": worker.connections,
        "is_leader": worker.is_leader,
    }


def _probe(probe: Probe) -> dict[str, Any]:
    return {
        "at": round(probe.at, 3),
        "ok": probe.ok,
        "status": probe.status,
        "latency_ms": round(probe.latency_ms, 1),
        "reason": probe.reason,
    }
