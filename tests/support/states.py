"""State files by hand, with whatever the test is about."""

from __future__ import annotations

import json
import time
from pathlib import Path


def put_state(path: Path, active: str | None, versions: object = None, **top: object) -> None:
    """Replace the state file as the commands do: temp file beside it, then rename."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"active_version": active, "versions": versions or {}, **top}))
    temporary.replace(path)


def pause_for(seconds: float) -> dict[str, float]:
    """A pause from now on."""
    now = time.time()
    return {"since": now, "until": now + seconds}
