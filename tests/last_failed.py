"""The tests that failed in the last run, one a line: `python -m tests.last_failed`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".pytest_cache" / "v" / "cache" / "lastfailed"


def last_failed(cache: Path = CACHE) -> list[str]:
    """Their ids as pytest has written them down, in order; none where nothing failed."""
    return sorted(json.loads(cache.read_text())) if cache.exists() else []


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\n" for name in last_failed())
