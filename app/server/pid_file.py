"""The files that say which process is the router: its pid for anybody, its record for our commands."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.state.process_birth import birth

__all__ = ["PidFile", "records"]


def records(pid_path: Path) -> list[dict[str, Any]]:
    """What is noted of a router whose pid file that is: the record beside it, or in it by a release before 1.0."""
    found = []
    for path in (pid_path.with_suffix(".json"), pid_path):
        with suppress(OSError, ValueError):
            noted = json.loads(path.read_bytes())
            if isinstance(noted, dict):
                found.append(noted)
    return found


@dataclass(slots=True)
class PidFile:
    """One master's own record, and the files where the master in charge keeps it.

    `path` has its pid and nothing else, as `kill -USR1 $(cat …)` wants it. The record is beside it, with the suffix
    `.json`: `pid`, `port` and `birth` of the process (a pid alone proves nothing, it may have been given to another
    one), `address`, where the settings say it listens, `changes`, how many reloads and upgrades it has been asked for
    and are over, and `fault`, why the last of them failed, "" when it did not.
    """

    path: Path
    port: int
    address: str
    changes: int = 0
    fault: str = ""
    _birth: str | None = field(default_factory=lambda: birth(os.getpid()))

    @property
    def record_path(self) -> Path:
        """Where the record is."""
        return self.path.with_suffix(".json")

    def write(self, *, to_older: bool = False) -> None:
        """Puts our pid and record there, whoever's were there before. Raises OSError.

        `to_older`: for a master that may be of a release before 1.0, which looks for its successor in the pid file.
        """
        record = {
            "pid": os.getpid(),
            "port": self.port,
            "address": self.address,
            "birth": self._birth,
            "changes": self.changes,
            "fault": self.fault,
        }
        text = json.dumps(record) + "\n"
        if to_older and not self.record_path.exists() and records(self.path):
            _put(self.path, text)
            return
        _put(self.path, f"{os.getpid()}\n")
        _put(self.record_path, text)

    def owner(self) -> int:
        """The pid in the record; 0 when there is none."""
        pid = self._noted().get("pid")
        return pid if isinstance(pid, int) else 0

    def held_address(self) -> str:
        """The address of the master in charge; "" when it is not known."""
        return str(self._noted().get("address", ""))

    def _noted(self) -> dict[str, Any]:
        return next(iter(records(self.path)), {})

    def remove(self) -> None:
        """Takes our pid and record away; another router's stay."""
        if self.owner() == os.getpid():
            for path in (self.path, self.record_path):
                Path(os.path.realpath(path)).unlink(missing_ok=True)


def _put(path: Path, text: str) -> None:
    """Replaces a file, or what a link at its place leads to. Raises OSError."""
    path = Path(os.path.realpath(path))
    draft = Path(f"{path}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
