"""The file that says which process is the router: what the commands look for when they want to talk to it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.state.process_birth import birth

__all__ = ["PidFile"]


@dataclass(slots=True)
class PidFile:
    """One master's own record, and the file where the master in charge keeps it.

    The file is JSON: `pid`, `port` and `birth` of the process (a pid alone proves nothing, it may have been
    given to another one), `address`, where the settings say it listens, `changes`, how many reloads and
    upgrades it has been asked for and are over, and `fault`, why the last of them failed, "" when it did not.
    """

    path: Path
    port: int
    address: str
    changes: int = 0
    fault: str = ""
    _birth: str | None = field(default_factory=lambda: birth(os.getpid()))

    def write(self) -> None:
        """Puts our record there, whoever's was there before. Raises OSError."""
        record = {
            "pid": os.getpid(),
            "port": self.port,
            "address": self.address,
            "birth": self._birth,
            "changes": self.changes,
            "fault": self.fault,
        }
        draft = Path(f"{self.path}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(record) + "\n")
            draft.replace(self.path)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise

    def owner(self) -> int:
        """The pid in the file; 0 when there is none."""
        pid = self._noted().get("pid")
        return pid if isinstance(pid, int) else 0

    def held_address(self) -> str:
        """The address of the master in charge; "" when it is not known."""
        return str(self._noted().get("address", ""))

    def _noted(self) -> dict[str, object]:
        try:
            noted = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def remove(self) -> None:
        """Takes our record away; another router's stays."""
        if self.owner() == os.getpid():
            self.path.unlink(missing_ok=True)
