"""The keys of an issuer kept on disk, for the other workers, and for a restart while the issuer is down."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from app.state.store import replace_file

__all__ = ["KeptKeys", "KeyFile"]

_MODE = 0o600
_OTHERS = 0o022
"""Who could write the file could let anybody in: one that group or others may write is not read."""


class KeptKeys(NamedTuple):
    """A JWKS as it came, and when: wall seconds."""

    text: str
    fetched_at: float


class KeyFile:
    """The file for what is at one address, in a folder that all workers know."""

    def __init__(self, folder: Path, address: str) -> None:
        self._address = address
        self.path = folder / f"login_keys_{sha256(address.encode()).hexdigest()[:12]}.json"

    def read(self) -> KeptKeys | None:
        """What was kept last; None where there is nothing that can be used."""
        try:
            with open(self.path, encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS:
                    return None
                kept = json.load(file)
            if kept["address"] != self._address:
                return None
            return KeptKeys(str(kept["jwks"]), float(kept["fetched_at"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, kept: KeptKeys) -> None:
        """Replaces it; not flushed, for a worker must not wait for a disk. Raises OSError."""
        content = {"address": self._address, "fetched_at": kept.fetched_at, "jwks": kept.text}
        replace_file(self.path, json.dumps(content).encode(), _MODE, is_flushed=False, by=f".{os.getpid()}")
