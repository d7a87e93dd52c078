"""How the next master is to be started, put down by the command that asks for it.

An upgrade is typed in the checkout that is to run, and the router may have been started in another one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["Start", "read_start", "write_start"]


class Start(NamedTuple):
    """The arguments of a master, its directory, and where its modules are looked for (`PYTHONPATH`)."""

    arguments: list[str]
    directory: str
    python_path: str


def write_start(pid_path: Path, start: Start) -> Path:
    """Puts it down for the master whose pid file that is; gives where. Raises OSError."""
    path = _path(pid_path)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "w") as file:
        json.dump(start._asdict(), file)
    return path


def read_start(pid_path: Path) -> Start | None:
    """What was put down, which holds once; None when there is nothing, or nothing from us or root."""
    path = _path(pid_path)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            noted = json.load(file)
        path.unlink()
        return Start(**noted) if owner in (0, os.geteuid()) else None
    except (OSError, ValueError, TypeError):
        return None


def _path(pid_path: Path) -> Path:
    return Path(os.path.realpath(pid_path)).with_suffix(".next")
