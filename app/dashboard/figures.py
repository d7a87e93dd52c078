"""The figures behind the charts in words: a table for each, and what is read out under the pointer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from app.dashboard.observation import Column, Past
from app.dashboard.words import clock_text, ms_text, percent_text, rate_text
from app.units import NONE

__all__ = ["COUNTED_ANYWAY", "HEADINGS", "now", "read_outs", "row_end", "table_rows"]

_STACK = ("blue", "green", "router")
_LINES = ("blue", "green")

COUNTED_ANYWAY = "in_flight"
"""What is known while metrics are off: a drain needs it."""

Row = tuple[str, ...]


def row_end(past: Past, rows: int) -> int:
    """The wall second at which the newest line of the table ends: round, so that lines stay as they are."""
    per_row = _columns_per_row(past, rows) * past.step_s
    return int(past.end) // per_row * per_row


def _columns_per_row(past: Past, rows: int) -> int:
    return max(1, len(past.columns) // rows)


def table_rows(panel: str, past: Past, rows: int) -> list[Row]:
    """The table behind a chart: complete stretches of time of equal length, `rows` for the whole, the newest first."""
    per_row = _columns_per_row(past, rows)
    end = row_end(past, rows)
    last = len(past.columns) - round((past.end - end) / past.step_s)
    found = []
    for index, stop in enumerate(range(last, per_row - 1, -per_row)):
        at = end - (index + 1) * per_row * past.step_s
        chunk = past.columns[stop - per_row : stop]
        cells = _CELLS[panel](chunk, per_row * past.step_s)
        known = cells if past.is_counted or panel == COUNTED_ANYWAY else (NONE,) * len(cells)
        found.append((clock_text(at, seconds=False), *known))
    return found


def _of_requests(columns: Sequence[Column], seconds: int) -> Row:
    return tuple(rate_text(sum(column.of(name).requests for column in columns) / seconds) for name in _STACK)


def _of_errors(columns: Sequence[Column], seconds: int) -> Row:
    failed, requests = sum(c.failed for c in columns), sum(c.requests for c in columns)
    return f"{failed:,}", f"{requests:,}", percent_text(failed, requests)


def _of_latency(columns: Sequence[Column], seconds: int) -> Row:
    cells = []
    for name in _LINES:
        figures = [column.of(name) for column in columns]
        busiest = max(figures, key=lambda one: one.requests)
        slowest = max((one.p95_ms for one in figures if one.p95_ms is not None), default=None)
        cells += [ms_text(busiest.p50_ms), ms_text(slowest)]
    return tuple(cells)


def _of_in_flight(columns: Sequence[Column], seconds: int) -> Row:
    return tuple(f"{max(column.of(name).in_flight for column in columns):,}" for name in _LINES)


_CELLS: dict[str, Callable[[Sequence[Column], int], Row]] = {
    "requests": _of_requests,
    "errors": _of_errors,
    "latency": _of_latency,
    "in_flight": _of_in_flight,
}

HEADINGS = {
    "requests": ("Blue", "Green", "Router"),
    "errors": ("Failed", "Requests", "Share"),
    "latency": ("Blue p50", "Blue p95", "Green p50", "Green p95"),
    "in_flight": ("Blue", "Green"),
}


# --- read out --------------------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def _read_out(column: Column, seconds: int, is_counted: bool) -> dict[str, str]:
    """What each chart says about one column; most columns of a quiet router are the same."""
    return {
        panel: say(column, seconds) if is_counted or panel == COUNTED_ANYWAY else "not counted"
        for panel, say in _SAID.items()
    }


def now(past: Past) -> dict[str, str]:
    """What each chart says about the newest column."""
    return _read_out(past.columns[-1], past.step_s, past.is_counted)


def read_outs(past: Past) -> dict[str, object]:
    """What the script shows under the pointer: for each panel one text per column, and the times."""
    found = [_read_out(column, past.step_s, past.is_counted) for column in past.columns]
    times = [clock_text(past.start + index * past.step_s) for index in range(len(found))]
    return {"times": times, "panels": {panel: [said[panel] for said in found] for panel in _SAID}}


def _say_requests(column: Column, seconds: int) -> str:
    router = f" · router {rate_text(column.router.requests / seconds)}" if column.router.requests else ""
    return _both(lambda name: rate_text(column.of(name).requests / seconds)) + router


def _say_errors(column: Column, seconds: int) -> str:
    if not column.requests:
        return "no requests"
    return f"{percent_text(column.failed, column.requests)} · {column.failed:,} of {column.requests:,}"


def _say_latency(column: Column, seconds: int) -> str:
    return _both(lambda name: _pair(column.of(name).p50_ms, column.of(name).p95_ms))


def _pair(p50: float | None, p95: float | None) -> str:
    return NONE if p50 is None else f"{ms_text(p50)} / {ms_text(p95)}"


def _say_in_flight(column: Column, seconds: int) -> str:
    return _both(lambda name: f"{column.of(name).in_flight:,}")


def _both(text: Callable[[str], str]) -> str:
    return f"blue {text('blue')} · green {text('green')}"


_SAID: dict[str, Callable[[Column, int], str]] = {
    "requests": _say_requests,
    "errors": _say_errors,
    "latency": _say_latency,
    "in_flight": _say_in_flight,
}
