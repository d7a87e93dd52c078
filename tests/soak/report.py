"""The report: what happened, what the clients saw, and whether the books are balanced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from tests.soak.books import CHECKS, Books

__all__ = ["as_json", "as_text", "faults"]

MOST_TOLD = 10

Row = Sequence[object]


def faults(books: Books) -> dict[str, list[str]]:
    """Every check's findings."""
    return {name: check(books) for name, check in CHECKS.items()}


def as_json(books: Books, found: dict[str, list[str]]) -> dict[str, object]:
    """The report for programs."""
    return {
        "events": _keyed(_EVENT_HEADS, _events(books)),
        "clients": _keyed(_CLIENT_HEADS, _clients(books)),
        "totals": dict(_totals(books)),
        "faults": found,
    }


def as_text(books: Books, found: dict[str, list[str]]) -> str:
    """The report for people."""
    parts = [
        _table(_EVENT_HEADS, _events(books)),
        _table(_CLIENT_HEADS, _clients(books)),
        "\n".join(f"{name:<48} {value}" for name, value in _totals(books)),
        "\n".join(_judged(name, faults) for name, faults in found.items()),
    ]
    return "\n\n".join(parts)


_EVENT_HEADS = ("event", "times", "median s", "longest s")
_CLIENT_HEADS = ("requests", "sent", "failed", "in killed worker", "in killed app", "median s", "longest s")


def _events(books: Books) -> list[Row]:
    by_name: dict[str, list[float]] = {}
    for event in books.evidence.events:
        by_name.setdefault(event.name, []).append(event.end - event.start)
    return [(name, len(times), *_times(times)) for name, times in by_name.items()]


def _clients(books: Books) -> list[Row]:
    rows: list[Row] = []
    for kind in sorted({seen.kind for seen in books.evidence.seen}):
        seen = [each for each in books.evidence.seen if each.kind == kind]
        reasons = [books.reason(each) for each in seen if each.error and not books.came_late(each)]
        killed = [sum(kill is not None and kill.what == what for kill in reasons) for what in ("worker", "app")]
        times = _times([each.end - each.start for each in seen])
        rows.append((kind, len(seen), len(reasons) - sum(killed), *killed, *times))
    return rows


def _totals(books: Books) -> list[tuple[str, object]]:
    evidence = books.evidence
    lost_posts = {seen.id for seen in books.failed if seen.kind == "post"}
    executed = {execution.key for execution in evidence.executions}
    return [
        ("requests of the clients", len(evidence.seen)),
        ("lines of the access log", len(evidence.lines)),
        ("requests in the metrics", sum(figures.requests for figures in evidence.figures.values())),
        ("of these aborted", sum(figures.aborted for figures in evidence.figures.values())),
        ("processes that answered", len({(s.version, s.instance) for s in evidence.seen if s.instance})),
        ("POSTs executed", len(executed)),
        ("of these not answered, for a process was killed", len(executed & lost_posts)),
        ("WebSockets handed over (1012)", sum(seen.end_code == 1012 for seen in evidence.seen)),
        ("kept connections found closed", sum(seen.found_closed for seen in evidence.seen)),
        ("kept connections used too late", sum(books.came_late(seen) for seen in evidence.seen)),
        ("receipts", len({account.end for account in evidence.accounts})),
        ("cut by receipts", sum(account.cut for account in evidence.accounts)),
        ("longest hold in a receipt, s", _times([account.held_s for account in evidence.accounts])[1]),
        ("longest GET, s", _times([s.end - s.start for s in evidence.seen if s.kind == "get"])[1]),
    ]


def _times(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and longest, to the millisecond."""
    return (round(median(seconds), 3), round(max(seconds), 3)) if seconds else (0.0, 0.0)


def _judged(name: str, found: Sequence[str]) -> str:
    if not found:
        return f"✅ {name}: 0"
    told = [f"     {fault}" for fault in found[:MOST_TOLD]]
    rest = [f"     … and {len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else []
    return "\n".join([f"❌ {name}: {len(found)}", *told, *rest])


def _keyed(heads: Sequence[str], rows: Iterable[Row]) -> list[dict[str, object]]:
    keys = [head.replace(" ", "_") for head in heads]
    return [dict(zip(keys, row, strict=True)) for row in rows]


def _table(heads: Sequence[str], rows: Iterable[Row]) -> str:
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    )
