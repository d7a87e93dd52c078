"""From where the commands will be typed that this process prints."""

from __future__ import annotations

import os
import pwd
from collections.abc import MutableMapping
from pathlib import Path

from app.command_line import Whence
from app.installation import ROOT, commands, home, is_package
from app.settings.loading import HOME_VARIABLE

__all__ = ["CALL_VARIABLE", "whence_of_command", "whence_of_router"]

CALL_VARIABLE = "ROUTER_CALL"
"""Where the launchers in `bin/`, and the commands of a package, say how they were called."""

_STATE_FILE = "TRAFFIC_ROUTER_STATE_FILE"


def whence_of_command(environ: MutableMapping[str, str]) -> Whence:
    """For a command, whose caller reads what it prints: as short as he called it, where that will do again.

    Takes what the launcher said out of the environment: it is nobody else's.
    """
    call = environ.pop(CALL_VARIABLE, "")
    owner = _other_owner(home(environ))
    will_do_again = not environ.get(HOME_VARIABLE) and not owner
    if is_package():
        if call and will_do_again:
            return Whence(_folder_typed(call))
    elif not call or (call.startswith("bin/") and will_do_again):
        return Whence()
    return Whence(str(commands()), _variables(environ), owner)


def whence_of_router(environ: MutableMapping[str, str]) -> Whence:
    """For the router, whose page, health report and log are read by anybody.

    A service manager's user is named; somebody who runs it in his own terminal knows who he is.
    """
    is_service = "INVOCATION_ID" in environ and os.geteuid() != 0
    return Whence(str(commands()), _variables(environ), _user(os.geteuid()) if is_service else "")


def _folder_typed(call: str) -> str:
    """The folder of the program that was called; "" when its name alone leads there."""
    folder, name = os.path.split(call)
    on_path = (it for it in os.get_exec_path() if os.access(os.path.join(it, name), os.X_OK))
    return "" if next(on_path, None) == folder else folder


def _variables(environ: MutableMapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Those that lead to the deployment."""
    place, state = home(environ), environ.get(_STATE_FILE, "")
    found = [(HOME_VARIABLE, str(place))] if place != ROOT else []
    return (*found, *([(_STATE_FILE, str(place / state))] if state else []))


def _other_owner(place: Path) -> str:
    """Whose the deployment's files are, if they are another user's; "" when they are ours, or there are none."""
    try:
        owner = (place / ".local_context").stat().st_uid
    except OSError:
        return ""
    return _user(owner) if owner != os.geteuid() else ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"  # as sudo takes it
