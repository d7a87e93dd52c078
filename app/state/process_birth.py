"""When a process began, which tells it from another one that was given its pid later.

From /proc (proc(5)) rather than by psutil, whose import is a tenth of the time in which a command starts, and would
be 0.7 MiB of each worker, which inherits what the master has imported. And not as a time of day: the kernel counts
that back from the wall clock, so that it moves for every process whenever the clock is set.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["birth", "is_zombie"]

_STATE, _STARTED = 0, 19
"""Fields of /proc/PID/stat after the name, which ends with the last parenthesis."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def birth(pid: int) -> str | None:
    """The boot of the machine and the clock tick in it at which a process began; None when it is gone.

    Such as "ae3e55e1-8123345", which is for comparing only. A pid is not used again within a tick.
    """
    fields = _fields(pid)
    return None if fields is None else f"{_boot()}-{fields[_STARTED]}"


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has received its exit status yet."""
    fields = _fields(pid)
    return fields is None or fields[_STATE] == "Z"


def _boot() -> str:
    """The first digits of the boot id, drawn at random at each boot; "" where the kernel does not tell."""
    with suppress(OSError):
        return _BOOT_ID.read_text().partition("-")[0]
    return ""


def _fields(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
