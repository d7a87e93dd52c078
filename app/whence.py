"""From where the commands will be typed that this process prints."""

from __future__ import annotations

import os
import pwd
from collections.abc import MutableMapping
from pathlib import Path

from app.command_line import Whence

__all__ = ["CALL_VARIABLE", "whence_of_command", "whence_of_router"]

CALL_VARIABLE = "ROUTER_CALL"
"""Where the launchers in `bin/` say how they were called, which Python is not told."""

ROOT = Path(__file__).resolve().parents[1]
_HOME, _STATE_FILE = "TRAFFIC_ROUTER_HOME", "TRAFFIC_ROUTER_STATE_FILE"


def whence_of_command(environ: MutableMapping[str, str]) -> Whence:
    """For a command, whose caller reads what it prints: as short as he called it, where that will do again.

    Takes what the launcher said out of the environment: it is nobody else's.
    """
    call = environ.pop(CALL_VARIABLE, "")
    owner = _other_owner(Path(environ.get(_HOME) or ROOT))
    if not call or (call.startswith("bin/") and not environ.get(_HOME) and not owner):
        return Whence()
    return Whence(str(ROOT), _variables(environ), owner)


def whence_of_router(environ: MutableMapping[str, str]) -> Whence:
    """For the router, whose page, health report and log are read by anybody.

    A service manager's user is named; somebody who runs it in his own terminal knows who he is.
    """
    is_service = "INVOCATION_ID" in environ and os.geteuid() != 0
    return Whence(str(ROOT), _variables(environ), _user(os.geteuid()) if is_service else "")


def _variables(environ: MutableMapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Those that lead to the deployment."""
    home = os.path.abspath(environ.get(_HOME) or ROOT)
    state = environ.get(_STATE_FILE, "")
    found = [(_HOME, home)] if home != str(ROOT) else []
    return (*found, *([(_STATE_FILE, os.path.join(home, state))] if state else []))


def _other_owner(home: Path) -> str:
    """Whose the deployment's files are, if they are another user's; "" when they are ours, or there are none."""
    try:
        owner = (home / ".local_context").stat().st_uid
    except OSError:
        return ""
    return _user(owner) if owner != os.geteuid() else ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"  # as sudo takes it
