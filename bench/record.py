"""What the figures of a run were measured on, and the figures of the run before."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.processes import ROOT

__all__ = ["LAST", "conditions", "load_record", "save_record"]

LAST = ROOT / "bench" / "last.json"
"""Not under version control: figures of two machines have nothing to say to each other."""


def conditions() -> dict[str, str]:
    """When, where and of what a run was made."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "revision": _revision(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
    }


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def save_record(path: Path, figures: dict[str, Any]) -> None:
    """Writes the figures of a run with its conditions."""
    path.write_text(json.dumps({"conditions": conditions(), **figures}, indent=1) + "\n")


def load_record(path: Path) -> dict[str, Any] | None:
    """What `save_record` wrote; None when there is nothing that can be read."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        return record
    except (OSError, ValueError):
        return None
