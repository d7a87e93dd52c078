"""The router's figures as `metrics` prints them: a block for reading, one line per look for watching."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from app.cli.backend_view import state_text
from app.cli.health_view import read_health
from app.cli.router_client import METRICS_PATH, RouterClient, RouterUnreachable
from app.cli.terminal import Progress, bytes_text, count_text, duration_text, heading, is_plain, moment_text, ms_text
from app.command_line import ROUTER_PROGRAM
from app.errors import FAILURES
from app.operator_errors import OperatorError
from app.situation import OWN_5XX
from app.units import NONE

__all__ = ["Metrics", "metrics_lines", "read_metrics", "watch"]

Metrics = Mapping[str, Any]
"""The JSON object of `/__router_metrics`."""

_PERCENTILES = ("p50", "p90", "p95", "p99", "max")

_MOST_FAILED = 5

_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 44


def read_metrics(client: RouterClient, window_s: int | None = None) -> Metrics:
    """The figures since the beginning, or of the last `window_s` seconds.

    Raises `OperatorError` when they are off or not for us, `RouterUnreachable` when no router answers.
    """
    query = "" if window_s is None else "?" + urlencode({"window": window_s})
    answer = client.get(METRICS_PATH + query)
    if answer.status == 404 and "hint" not in read_health(client):  # which it has when no router answers
        raise OperatorError(
            "Metrics are off", f"metrics_enabled = true in traffic_router.toml, then {ROUTER_PROGRAM} reload"
        )
    if answer.status == 403:
        raise OperatorError(
            "The router does not show its metrics to this address", f"{ROUTER_PROGRAM} config   # admin_allow"
        )
    try:
        metrics = answer.json()
    except ValueError:
        metrics = {}
    if answer.status != 200 or "total_requests" not in metrics:
        raise OperatorError(
            f"port {client.port} does not answer as a traffic router (status {answer.status})",
            f"sudo lsof -i :{client.port}",
        )
    return metrics


def metrics_lines(metrics: Metrics, title: str = "TRAFFIC ROUTER METRICS", name: str = "") -> list[str]:
    """The ruled block, line by line."""
    figures = {
        "Total requests": count_text(metrics["total_requests"]),
        "Successful": count_text(metrics["successful_requests"]),
        "Failed": count_text(metrics["failed_requests"]),
        "Success rate": f"{metrics['success_rate']:.1f} %",
        "Bytes proxied": bytes_text(metrics["bytes_proxied"]),
        "Average time": ms_text(metrics["avg_request_time_ms"]),
        **_latency_figures(metrics),
        **_other_figures(metrics),
    }
    width = max(map(len, figures))
    rows = [f"   {name:<{width}}  {value:>12}" for name, value in figures.items()]
    parts = (_version_lines(metrics), _backend_lines(metrics), _limit_lines(metrics), _failure_lines(metrics))
    return [*heading(title, name).splitlines(), "", *rows, "", *(line for part in parts for line in part)]


def _failure_lines(metrics: Metrics) -> list[str]:
    """What the failed requests failed by, version by version, most first; nothing where none failed."""
    found = []
    for version, about in (metrics.get("versions") or {}).items():
        causes = {cause: count for cause, count in about.get("causes", {}).items() if cause in FAILURES}
        own = about.get("code_classes", {}).get("5xx", 0) - sum(causes.values())
        found += [(count, version, cause) for cause, count in {OWN_5XX: max(0, own), **causes}.items() if count]
    if not found:
        return []
    lines = [
        f"   {version:<8} {count_text(count):>12} {cause}" for count, version, cause in sorted(found, reverse=True)
    ]
    return ["", f"   {'Version':<8} {'Failed':>12} by", *lines, *_last_failed(metrics)]


def _last_failed(metrics: Metrics) -> list[str]:
    """The last requests that failed, newest first: what to look for in the logs."""
    lines = [
        f"   {moment_text(one['at'])} {one['version']:<6} {one['status'] or NONE:>3} {one['method']} {one['path']}"
        f"  {one['cause'] or OWN_5XX}, after {ms_text(one['took_ms'])}, id {one['request_id'] or NONE}"
        for one in reversed((metrics.get("last_failed") or [])[-_MOST_FAILED:])
    ]
    return ["", "   The last that failed:", *lines] if lines else []


def _latency_figures(metrics: Metrics) -> dict[str, str]:
    latency = metrics.get("latency_ms") or {}
    return {f"Time {name}": ms_text(latency[name]) for name in _PERCENTILES if latency.get(name) is not None}


def _other_figures(metrics: Metrics) -> dict[str, str]:
    figures = {}
    if "in_flight" in metrics:
        figures["In flight"] = count_text(metrics["in_flight"])
    if metrics.get("held"):
        figures["Held now"] = count_text(metrics["held"])
    if metrics.get("queued"):
        figures["Queued now"] = count_text(metrics["queued"])
    if "uptime_s" in metrics:
        figures["Uptime"] = duration_text(metrics["uptime_s"])
    return figures


def _version_lines(metrics: Metrics) -> list[str]:
    """One row for each version with its share of the requests, and one for what the router answered itself, if any."""
    versions = dict(metrics["version_requests"])
    if own := metrics["total_requests"] - sum(versions.values()):
        versions["router"] = own
    total = sum(versions.values())
    lines = [f"   {'Version':<8} {'Requests':>12} {'Share':>8} {'Success':>9} {'Time p50':>10} {'p95':>10}"]
    for name, count in versions.items():
        about = (metrics.get("versions") or {}).get(name) or {}
        latency = about.get("latency_ms") or {}
        share = f"{100 * count / total:.1f} %" if total else "–"
        rate = f"{about['success_rate']:.1f} %" if count and "success_rate" in about else "–"
        times = [ms_text(latency.get(point)) for point in ("p50", "p95")]
        lines.append(f"   {name:<8} {count_text(count):>12} {share:>8} {rate:>9} {times[0]:>10} {times[1]:>10}")
    return lines


def _limit_lines(metrics: Metrics) -> list[str]:
    """One row for each limit, since the metrics began; nothing where there are none."""
    limits = metrics.get("limits") or ()
    if not limits:
        return []
    width = max(5, *(len(limit["name"]) for limit in limits))
    lines = [f"   {'Limit':<{width}} {'Let through':>12} {'Refused':>9} {'Delayed':>9} {'Would refuse':>12}"]
    for limit in limits:
        passed, refused, delayed, would = (
            count_text(limit[name]) for name in ("passed", "refused", "delayed", "would_refuse")
        )
        lines.append(f"   {limit['name']:<{width}} {passed:>12} {refused:>9} {delayed:>9} {would:>12}")
    return ["", *lines]


def _backend_lines(metrics: Metrics) -> list[str]:
    """One row for each backend of the versions that have several, in their order; nothing where none has."""
    found = [
        (f"{version} {row['address']}", *(count_text(row[name]) for name in ("requests", "failures", "in_flight")), row)
        for version, about in (metrics.get("versions") or {}).items()
        for row in about.get("backends", ())
    ]
    if not found:
        return []
    width = max(len(name) for name, *_ in found)
    lines = [f"   {'Backend':<{width}} {'Requests':>12} {'Failures':>9} {'In flight':>9}  State"]
    for name, requests, failures, in_flight, row in found:
        lines.append(f"   {name:<{width}} {requests:>12} {failures:>9} {in_flight:>9}  {state_text(row)}")
    return ["", *lines]


# --- watching ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Look:
    """The figures at one moment (monotonic seconds), and the requests per second since the look before."""

    at: float
    metrics: Metrics
    rate: float


def watch(client: RouterClient, every_s: float, window_s: int | None, as_json: bool) -> None:
    """Look again every `every_s` seconds until Ctrl-C: redrawn in place on a terminal, a line each elsewhere.

    A router that is away for a while, as in a restart, is waited for.
    """
    if as_json or is_plain():
        for look in _looks(client, every_s, window_s):
            print(json.dumps(look.metrics) if as_json else _line(look), flush=True)
        return
    rates: list[float] = []
    # rich asks for the terminal's width itself on each redraw
    with Live(console=Console(highlight=False), auto_refresh=False, screen=True) as live:
        for look in _looks(client, every_s, window_s):
            rates = [*rates, look.rate][-_SPARK_WIDTH:]
            foot = [
                "",
                f"   {_sparkline(rates)} {look.rate:,.0f} req/s",
                "",
                f"   every {every_s:g} s, Ctrl-C ends",
            ]
            body = "\n".join([*metrics_lines(look.metrics), *foot])
            live.update(Group(Text.from_ansi(body)), refresh=True)


def _looks(client: RouterClient, every_s: float, window_s: int | None) -> Iterator[_Look]:
    # The rate always comes from the totals: the figures of two different windows cannot be subtracted.
    last: tuple[float, int] | None = None
    progress = Progress(sys.stderr)
    while True:
        try:
            metrics = read_metrics(client, window_s)
            totals = metrics if window_s is None else read_metrics(client)
        except RouterUnreachable as error:
            if last is None:
                raise  # it was never there, so there is nothing to wait for
            progress.say(str(error))
        else:
            progress.clear()
            now, count = time.monotonic(), totals["total_requests"]
            rate = max(0, count - last[1]) / (now - last[0]) if last else 0.0
            last = now, count
            yield _Look(now, metrics, rate)
        time.sleep(every_s)


def _line(look: _Look) -> str:
    figures = look.metrics
    versions = ", ".join(f"{name} {count_text(count)}" for name, count in figures["version_requests"].items())
    return (
        f"{time.strftime('%H:%M:%S')}  {count_text(figures['total_requests'])} requests"
        f"  {look.rate:.1f} req/s  {figures['success_rate']:.1f} % ok"
        f"  avg {ms_text(figures['avg_request_time_ms'])}  {versions}"
    )


def _sparkline(values: list[float]) -> str:
    top = max(values) or 1.0
    return "".join(_SPARKS[min(len(_SPARKS) - 1, int(value / top * len(_SPARKS)))] for value in values)
