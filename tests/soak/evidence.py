"""Everything that is known about a soak when it is over, from everybody's own records."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.seen import Seen
from tests.soak.site import Site

__all__ = [
    "Account",
    "Event",
    "Evidence",
    "Execution",
    "Figures",
    "Kill",
    "Line",
    "Overrun",
    "Spared",
    "Spell",
    "gather",
    "sheets",
]

# All times are seconds of the machine's monotonic clock, the same in every process.


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to the deployment; `error` when a command failed."""

    name: str
    start: float
    end: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill -9 of a worker or of an application, sent between the two times."""

    what: str
    """"worker" or "app"."""
    pid: int
    start: float
    end: float
    version: str = ""
    """Of an application."""
    in_flight: int = 0
    """In a worker."""
    held: int = 0
    """By a worker, which are in flight nowhere."""
    instance: int = 0
    """Which process of the version."""
    others: int = 0
    """How many other processes of the version got requests just then."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which a version was certainly the active one."""

    start: float
    end: float
    version: str


@dataclass(frozen=True, slots=True)
class Spared:
    """A time in which a process of a version was certainly to get no new requests."""

    start: float
    end: float
    version: str
    instance: int


@dataclass(frozen=True, slots=True)
class Overrun:
    """A time in which a process of a version had more requests than `max_in_flight`, and how many at the most."""

    version: str
    instance: int
    most: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Execution:
    """A POST that the application has executed."""

    key: str
    version: str
    at: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the router's access log."""

    id: str
    version: str
    """"" when none was picked."""
    status: int
    cause: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The router's metrics of one version, or of what it answered itself ("")."""

    requests: int
    aborted: int
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """One version's account in the receipt of a command that ran its course between the two times."""

    command: str
    start: float
    end: float
    version: str
    started: int
    finished: int
    cut: int
    in_flight: int
    cut_ids: Sequence[str] = ()
    held_s: float = 0.0
    """The longest hold."""


@dataclass(slots=True)
class Evidence:
    """All records of a soak; `quiet` are times in which nothing may have been executed."""

    seen: Sequence[Seen] = ()
    events: Sequence[Event] = ()
    kills: Sequence[Kill] = ()
    spells: Sequence[Spell] = ()
    quiet: Sequence[tuple[float, float]] = ()
    spared: Sequence[Spared] = ()
    overruns: Sequence[Overrun] = ()
    executions: Sequence[Execution] = ()
    lines: Sequence[Line] = ()
    figures: Mapping[str, Figures] = field(default_factory=dict)
    accounts: Sequence[Account] = ()


def gather(site: Site, clients: Path) -> Evidence:
    """Read what clients, application, router and commands have written down; the script's own part is left out."""
    return Evidence(
        seen=[Seen(**record) for path in sheets(clients) for record in _records(path)],
        executions=[Execution(**record) for record in _records(site.ledger)],
        overruns=[Overrun(**record) for record in _records(site.overruns)],
        lines=[
            Line(record["request_id"], record["version"], record["status"], record["cause"])
            for record in _records(site.access_log)
        ],
        figures=figures(site),
        accounts=list(_accounts(site)),
    )


def sheets(folder: Path) -> list[Path]:
    """The clients' sheets."""
    return sorted(folder.glob("*.jsonl"))


def figures(site: Site) -> dict[str, Figures]:
    """The metrics as they are now."""
    with site.metrics() as metrics:
        versions = metrics.snapshot().versions
    return {_named(name): Figures(found.requests, found.aborted, found.in_flight) for name, found in versions.items()}


def _named(version: str) -> str:
    """As the access log has it: no name for what the router answered without picking a version."""
    return "" if version == "router" else version


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open() as lines:
            yield from map(json.loads, lines)


def _accounts(site: Site) -> Iterator[Account]:
    """The receipts in the history, as documented for programs."""
    clock = time.time() - time.monotonic()
    for entry in site.asked("history", "--limit=100000"):
        receipt = (entry["facts"] or {}).get("receipt")
        if not receipt:
            continue
        end = entry["at"] - clock + entry["duration_s"]
        for version, account in receipt["versions"].items():
            yield Account(
                command=entry["command"],
                start=end - receipt["duration_s"],
                end=end,
                version=_named(version),
                started=account["started"],
                finished=account["finished"],
                cut=account["cut"],
                in_flight=account["in_flight"],
                cut_ids=account["cut_ids"],
                held_s=(account["held_max_ms"] or 0.0) / 1000,
            )
