"""`blue_green_deploy logs`: the end of a version's output, and what is added to it."""

from __future__ import annotations

import sys
from pathlib import Path

from app.cli.deploy_call import Call
from app.command_line import PROGRAM
from app.deploy.processes.log_file import follow, tail
from app.operator_errors import OperatorError
from app.state.instances import number_of, one_of

__all__ = ["print_log"]


def print_log(call: Call) -> int:
    """Print the last lines, and with --follow what comes, until Ctrl-C."""
    name, lines = call.process(), call.count("--lines")
    path = call.processes.log_path(name)
    if not path.exists() and not call.flag("--follow"):
        path = _moved_log(call, name, path)
    added = follow(path)
    next(added)  # remembers where the file ends before its end is printed, so that nothing is left out
    for line in tail(path, lines):
        print(line)
    sys.stdout.flush()  # what is added next may be long in coming
    if call.flag("--follow"):
        try:
            for text in added:
                print(text, end="", flush=True)
        except KeyboardInterrupt:
            pass  # the way to end it
    return 0


def _moved_log(call: Call, name: str, path: Path) -> Path:
    """Where a log is that is not at its place: a version writes on into what was moved away.

    Raises `OperatorError` when there is none to print.
    """
    version, number = number_of(name)
    found = call.processes.find(one_of(call.store.read_or_new().version(version), number))
    if found.in_foreground:
        raise OperatorError(
            f"{name} writes to the output of pid {found.supervisor}, which runs it in the foreground",
            f"journalctl _PID={found.pid}   # under systemd",
        )
    moved = sorted(path.parent.glob(f"{path.name}?*"), key=lambda it: it.stat().st_mtime)
    plain = [it for it in moved if it.suffix not in (".gz", ".xz", ".zst", ".bz2")]
    if plain:
        print(f"⚠️  {path} was moved away; this is {plain[-1]}", file=sys.stderr)
        return plain[-1]
    if moved:
        raise OperatorError(f"{path} was moved away and compressed", f"zless {moved[-1]}")
    hint = f"{PROGRAM} start {name}" if number == 1 else f"{PROGRAM} scale {version} {number}"
    raise OperatorError(f"{name} has no log yet: {path}", hint)
