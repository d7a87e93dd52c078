"""`blue_green_deploy repair`: shows what a broken state file and the last good state differ in, and restores that."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from app.cli.deploy_call import Call
from app.deploy.deployer import LOCK_WAIT_S
from app.deploy.repair import Repair, find_repair, restore
from app.operator_errors import OperatorError, StateError, UsageError
from app.state.store import repair_command

__all__ = ["repair"]


def repair(call: Call) -> int:
    """Show the difference, ask unless told not to, and restore."""
    is_quiet = call.flag("--json")
    shown = find_repair(call.deployment, call.history)
    if not is_quiet:
        print(*_lines(call, shown), sep="\n", flush=True)
    if call.flag("--dry-run"):
        return _end(call, shown, None, is_restored=False)
    if not call.flag("--yes"):
        _ask(is_quiet)
    with call.store.lock("repair", LOCK_WAIT_S):
        found = find_repair(call.deployment, call.history)
        if (found.broken, found.state.active_version) != (shown.broken, shown.state.active_version):
            raise StateError("the state or the history has changed meanwhile; nothing was restored", repair_command())
        aside = restore(call.deployment, call.history, found)
    return _end(call, found, aside, is_restored=True)


def _lines(call: Call, found: Repair) -> list[str]:
    lines = [f"❌ {found.fault}", f"   Restored would be: {' and '.join(found.sources) or 'a state of the beginning'}"]
    lines += [f"   | {line}" for line in found.difference()]
    active = found.state.active
    if active is None:
        return [*lines, "⚠️  No version would be active: requests get 503"]
    where = " and ".join(address.spot for address in call.deployment.addresses(active))
    if call.deployment.runs(active):
        return [*lines, f"✅ {active.name} would be active, and listens on {where}"]
    return [*lines, f"⚠️  {active.name} would be active, and nothing listens on {where}"]


def _ask(is_quiet: bool) -> None:
    """Raises `OperatorError` unless somebody says yes."""
    if is_quiet or not sys.stdin.isatty():
        raise UsageError("nothing was changed: there is no terminal to ask on", f"{repair_command()} --yes")
    print("Restore it? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise OperatorError("nothing was changed", f"{repair_command()} --dry-run   # to look again")


def _end(call: Call, found: Repair, aside: Path | None, *, is_restored: bool) -> int:
    if call.flag("--json"):
        known = {
            "state_file": str(call.store.path),
            "fault": found.fault,
            "sources": found.sources,
            "active_version": found.state.active_version,
            "difference": found.difference(),
            "restored": is_restored,
            "kept_as": str(aside) if aside else None,
        }
        print(json.dumps(known, indent=2))
    elif is_restored:
        print(f"✅ {call.store.path} is restored")
        if aside is not None:
            print(f"   The broken one is kept as {aside}")
    return 0
