"""`blue_green_deploy releases`: what lies there and was started from here; and the removal of what nothing needs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from app.cli.deploy_call import Call, help_command
from app.cli.terminal import bytes_text, dim, table
from app.deploy.pruning import Pruned
from app.deploy.release.current_link import look
from app.deploy.release.inventory import Listed, inventory, own_bytes
from app.operator_errors import OperatorError, UsageError

__all__ = ["print_releases", "prune_after_deploy", "prune_releases"]

_MEASURING_S: Final = 2.0
"""For the sizes of all of them; a tree with a million files is not worth the wait for its last byte."""

_Sizes = dict[str, tuple[int, bool]]


def print_releases(call: Call) -> int:
    """Print every release, the newest first."""
    state = call.observed()
    listed = inventory(call.deployment, call.history.entries(), state)
    deadline = time.monotonic() + _MEASURING_S
    sizes: _Sizes = {one.directory: own_bytes(one.directory, deadline) for one in listed if one.is_present}
    if call.flag("--json"):
        link = look(call.deployment, state)
        shown = {
            "dir": os.path.abspath(call.release.dir) if call.release.dir else None,
            "keep": call.release.keep,
            "current": link._asdict() if link else None,
            "releases": [_as_json(one, sizes) for one in listed],
        }
        print(json.dumps(shown, indent=2))
    elif listed:
        print(*_lines(listed, sizes), sep="\n")
    else:
        print("No release was started from here yet.")
    return 0


def _as_json(one: Listed, sizes: _Sizes) -> dict[str, object]:
    size, is_whole = sizes.get(one.directory, (None, False))
    return {
        "release": one.name,
        "directory": one.directory,
        "present": one.is_present,
        "started_at": one.started_at,
        "history": one.command,
        "revision": one.revision,
        **{role.replace(" ", "_"): role in one.roles for role in ("active", "standby", "rollback target", "current")},
        "size_bytes": size,
        "size_is_whole": is_whole,
    }


_COLUMNS: Final = ("RELEASE", "#", "STARTED", "SIZE", "REVISION", "STATE")


def _lines(listed: Sequence[Listed], sizes: _Sizes) -> list[str]:
    """A table; where a release has no directory by the setting, its own stands below it."""
    first, *rows = table(_COLUMNS, [_row(one, sizes) for one in listed])
    lines = [first]
    for one, row in zip(listed, rows, strict=True):
        lines.append(row)
        lines += [] if one.has_own_dir else [dim(f"    {one.directory}")]
    return lines


def _row(one: Listed, sizes: _Sizes) -> tuple[str, ...]:
    size, is_whole = sizes.get(one.directory, (0, True))
    return (
        one.name or "–",
        "" if one.command is None else str(one.command),
        "never" if one.started_at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(one.started_at)),
        ("" if is_whole else "≥ ") + bytes_text(size) if one.is_present else "",
        (one.revision or "")[:8],
        ", ".join(one.roles) if one.is_present else ", ".join([*one.roles, "missing"]),
    )


# --- prune ------------------------------------------------------------------------------------------------


def prune_releases(call: Call) -> int:
    """Remove old releases, and say which; exit code 1 when something could not be removed."""
    keep = call.count("--keep") if call.text("--keep") is not None else call.release.keep
    if keep < 1:
        raise UsageError("--keep=0: expected a whole number from 1 up", help_command())
    pruned = call.prune(keep, dry_run=call.flag("--dry-run"))
    if call.flag("--json"):
        print(json.dumps({"dry_run": call.flag("--dry-run"), **pruned._asdict()}, indent=2))
    else:
        _tell(pruned, is_done=not call.flag("--dry-run"))
    _tell_faults(pruned, "❌")
    return OperatorError.exit_code if pruned.faults else 0


def prune_after_deploy(call: Call) -> None:
    """The same after a deploy that did well; what cannot be removed is no fault of the deploy."""
    try:
        pruned = call.prune(call.release.keep)
    except OperatorError as error:
        print(f"⚠️  no release was removed: {error}", file=sys.stderr)
        return
    for directory in pruned.removed:
        print(f"🗑️  {directory} removed")
    _tell_faults(pruned, "⚠️ ")


def _tell(pruned: Pruned, *, is_done: bool) -> None:
    for directory in pruned.removed:
        print(f"🗑️  {directory} {'removed' if is_done else 'would be removed'}")
    for directory, reason in pruned.kept.items():
        print(f"   {directory} kept: {reason}")
    if not pruned.removed:
        print("✅ Nothing to remove")


def _tell_faults(pruned: Pruned, mark: str) -> None:
    for path, fault in pruned.faults.items():
        print(f"{mark} {path} cannot be removed: {fault}", file=sys.stderr)
