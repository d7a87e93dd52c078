"""`blue_green_deploy history`: who changed what, when, and what came of it; and whether that can be believed."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from app.canary.course import percent
from app.cli.deploy_call import Call
from app.cli.terminal import count_text, dim, ms_text, table, width
from app.command_line import PROGRAM
from app.deploy.record.hash_chain import ChainLink
from app.deploy.record.history import Entry
from app.operator_errors import OperatorError, StateError

__all__ = ["history_lines", "print_history"]


def print_history(call: Call) -> int:
    """Print the latest commands, or check the whole chain."""
    if call.flag("--verify"):
        return _verify(call)
    every = call.history.entries()
    if call.text("--show"):
        return _show(every, call.count("--show"))
    entries = every[len(every) - min(call.count("--limit"), len(every)) :]
    if call.flag("--json"):
        print(json.dumps([call.history.as_json(entry) for entry in entries], indent=2))
    elif every:
        print(*history_lines(entries, width()), sep="\n")
    elif _changed_by(call):
        print(f"⚠️  {call.history.path} is empty or gone; commands of before have changed the state.")
    else:
        print("Nothing has been changed yet.")
    return 0


def _show(every: Sequence[Entry], number: int) -> int:
    if not 1 <= number <= len(every):
        raise OperatorError(f"the history has no command {number}; it has {len(every)}", f"{PROGRAM} history")
    entry = every[number - 1]
    print(*history_lines([entry], width()), sep="\n")
    canary = entry.facts.get("canary")
    if isinstance(canary, dict):
        print("", *_canary_lines(canary), sep="\n")
    return 0


_MEASURES = {"failed": "failed", "slow50": "above the median", "slow95": "above 95 %"}


def _canary_lines(canary: Mapping[str, Any]) -> list[str]:
    """What a canary was judged by: the counts of both versions, the odds ratio, and what each is worth as evidence."""
    sides = canary["canary"], canary["stable"]
    rows = [
        (title, *(_of(side, name) for side in sides), f"{canary['odds_ratio'][name]:g}", _worth(canary, name))
        for name, title in _MEASURES.items()
    ]
    evidence = f"Evidence {_worth(canary, 'all')} of the {canary['needed']:g} that a rollback needs"
    return [
        f"The canary, at {percent(canary['weight'])}: {canary['reason']}",
        *table(("", "CANARY", "STABLE", "ODDS RATIO", "EVIDENCE"), rows),
        f"{evidence}; for it {canary['proof']:g}. Counted by {canary['unit']}.",
    ]


def _of(side: Mapping[str, int], name: str) -> str:
    return f"{count_text(side[name])} of {count_text(side['completed'])}"


def _worth(canary: Mapping[str, Any], name: str) -> str:
    return f"{canary['evidence'][name]:.3g}"


def _verify(call: Call) -> int:
    history, changed_by = call.history, _changed_by(call)  # in this order: what a command changes, it has announced
    links = history.verify()
    chained = [link for link in links if link.hash]
    broken = [link for link in links if link.fault]
    if changed_by and not history.knows(changed_by):
        lost = f"is missing: the state file was changed by a later command ({changed_by})"
        broken.append(ChainLink(len(links) + 1, "", lost))
    if call.flag("--json"):
        faults = [{"line": link.number, "fault": link.fault} for link in broken]
        last = chained[-1].hash if chained else None
        print(json.dumps({"lines": len(links), "chained": len(chained), "last_hash": last, "faults": faults}, indent=2))
        return OperatorError.exit_code if broken else 0
    for link in broken:
        print(f"❌ line {link.number} {link.fault}")
    if broken:
        path = shlex.quote(str(history.path))
        look = f"sed -n {min(broken[0].number, len(links))}p {path}" if links else f"ls -l {path}"
        raise OperatorError(f"{history.path} is not as it was written", look)
    print(f"✅ {count_text(len(links))} lines, and none was changed, taken out or put in")
    if older := len(links) - len(chained):
        print(f"   The first {count_text(older)} are from before lines were chained, so nobody can tell about them")
    if chained:
        print(f"   Last hash: {chained[-1].hash}")
        print(dim("   Note it elsewhere: it also shows whether lines are missing at the end"))
    return 0


def _changed_by(call: Call) -> str:
    """The id of the command that changed the state last; "" where that cannot be told."""
    try:
        return call.store.read_or_new().changed_by
    except StateError:
        return ""


_COLUMNS = ("#", "WHEN", "WHO", "COMMAND", "ACTIVE", "RELEASE", "OUTCOME", "TOOK")


def history_lines(entries: Sequence[Entry], columns: int) -> list[str]:
    """A table, the latest command last; what went wrong is told below its line.

    Where the terminal has too few columns for it, each command has a few lines instead.
    """
    first, *rows = table(_COLUMNS, [_history_row(entry) for entry in entries])
    is_narrow = max(map(len, rows), default=0) > columns
    lines = [] if is_narrow else [first]
    for entry, row in zip(entries, rows, strict=True):
        lines += _narrow(entry) if is_narrow else [row]
        for text in (entry.detail, _cut_text(entry)):
            lines += [dim(f"    {line}") for line in wrap(text, max(20, columns - 4))]
    return lines


def _narrow(entry: Entry) -> list[str]:
    number, when, who, command, moved, release, outcome, took = _history_row(entry)
    result = f"{outcome}, {took}" if took else outcome
    where = ", ".join(text for text in (moved, release, f"by {who}") if text)
    return [f"{number:>3} {when}  {result}", f"    {command}", f"    {where}"]


def _history_row(entry: Entry) -> tuple[str, ...]:
    moved = entry.came_from or "none"
    if entry.has_switched and entry.came_from != entry.goes_to:
        moved += f" → {entry.goes_to}"
    outcome = entry.outcome or f"at work ({entry.phase or 'beginning'})"
    took = "" if entry.duration_s is None else ms_text(entry.duration_s * 1000)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at))
    return str(entry.number), when, entry.who, entry.command, moved, entry.release or "", outcome, took


def _cut_text(entry: Entry) -> str:
    """What the receipt of a command says about cut requests, if there were any; `--json` has their ids."""
    receipt = entry.facts.get("receipt")
    versions = receipt.get("versions", {}) if isinstance(receipt, dict) else {}
    cut = sum(account.get("cut", 0) for account in versions.values())
    return f"{count_text(cut)} cut: see `history --json` for the receipt" if cut else ""
