"""Processes whose supervisor was killed: recognized by what they were told at their start."""

from __future__ import annotations

from pathlib import Path

from app.state.instances import name_in
from app.state.process_birth import is_zombie

__all__ = ["is_orphan"]


def is_orphan(pid: int, name: str) -> bool:
    """Whether the process lives and was started under that name; the kernel hands pids out again."""
    if is_zombie(pid):
        return False
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return name_in(dict(word.split("=", 1) for word in words if "=" in word)) == name
