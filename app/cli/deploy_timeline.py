"""`blue_green_deploy events`: what commands did and what happened without one, in one order of time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from app.cli.deploy_call import Call
from app.cli.terminal import dim
from app.deploy.record.history import DONE, Entry
from app.event_file import Event

__all__ = ["print_events"]

_LOOK_S = 0.5
_SIGNS = {"ok": "  ", "warns": "⚠️ ", "no traffic": "❌"}


def print_events(call: Call) -> int:
    """Print those since `--since`, `--limit` at most, and with --follow what comes, until Ctrl-C."""
    since = time.time() - call.seconds("--since", 1, 366 * 86_400)
    events, limit = _events(call, since), call.count("--limit")
    shown = events[max(0, len(events) - limit) :]
    if call.flag("--json") and not call.flag("--follow"):
        print(json.dumps([_as_json(event) for event in shown], indent=2))
        return 0
    try:
        _tell(call, since, events, shown)
    except KeyboardInterrupt:
        if not call.flag("--follow"):  # where it is the way to end it
            raise
    return 0


def _tell(call: Call, since: float, events: list[Event], shown: list[Event]) -> None:
    as_json, follows = call.flag("--json"), call.flag("--follow")
    for event in shown:
        _print(event, as_json=as_json)
    if not events and not follows:
        print("Nothing happened.")
    sys.stdout.flush()
    if follows:
        for event in _follow(call, since, set(events)):
            _print(event, as_json=as_json)
            sys.stdout.flush()


def _as_json(event: Event) -> dict[str, object]:
    when = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
    return {"time": when, **event._asdict()}


def _events(call: Call, since: float) -> list[Event]:
    # The router's own lines in the history, failovers, are among the events as well.
    entries = [entry for entry in call.history.entries() if entry.outcome is not None and entry.who != "router"]
    commands = map(_of_command, entries)
    found = [*(event for event in commands if event.at >= since), *call.events.read(since)]
    return sorted(found, key=lambda event: event.at)


def _follow(call: Call, since: float, known: set[Event]) -> Iterator[Event]:
    while True:
        time.sleep(_LOOK_S)
        new = [event for event in _events(call, since) if event not in known]
        known.update(new)
        yield from new


def _of_command(entry: Entry) -> Event:
    """A command that is over, at the time when it was."""
    what = f"{entry.command.removeprefix('blue_green_deploy ')}, by {entry.who}"
    phase = f" in {entry.phase}" if entry.phase and entry.outcome not in DONE else ""
    detail = f": {entry.detail}" if entry.detail else ""
    severity = "ok" if entry.outcome in DONE else "warns"
    at = entry.at + (entry.duration_s or 0.0)
    return Event(
        round(at, 3), entry.operation, f"{what}: {entry.outcome}{phase}{detail}", severity, entry.target, entry.release
    )


def _print(event: Event, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(event)))
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    print(f"{dim(when)} {_SIGNS.get(event.severity, '  ')} {event.event:<11} {event.text}")
