"""What processes have used, read from /proc (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "busy_seconds", "cpu_seconds", "memory", "on_cpu_ns", "process_tree"]

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")

# Fields of /proc/PID/stat, counted from the one behind the command's closing parenthesis.
_PARENT = 1
_TIMES = slice(11, 15)  # user and system, its own and those of children it has waited for


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process tree in KiB: resident, and resident with shared pages counted in shares."""

    rss_kib: int
    pss_kib: int


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the command, which may hold any character. Raises OSError."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def process_tree(pid: int) -> list[int]:
    """`pid` and all its descendants; empty when there is no such process."""
    children: dict[int, list[int]] = {}
    present = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = int(_stat(int(name))[_PARENT])
            except OSError:
                continue  # it has ended since the listing
            present.add(int(name))
            children.setdefault(parent, []).append(int(name))
    tree = [pid] if pid in present else []
    for member in tree:  # grows while we walk it
        tree += children.get(member, [])
    return tree


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree so far, ended children included; in steps of 10 ms as a rule."""
    ticks = 0
    for member in process_tree(pid):
        try:
            ticks += sum(map(int, _stat(member)[_TIMES]))
        except OSError:
            continue
    return ticks * _TICK_S


def on_cpu_ns(pid: int) -> int:
    """How long a process's main thread was on a CPU, in steps far finer than those of `cpu_seconds`."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def memory(pid: int) -> Memory:
    """The memory of a process tree at this moment."""
    found = {"Rss:": 0, "Pss:": 0}
    for member in process_tree(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, rest = line.partition(" ")
            if name in found:
                found[name] += int(rest.split()[0])
    return Memory(found["Rss:"], found["Pss:"])


def busy_seconds(cores: Iterable[int]) -> float:
    """How long the cores have not been idle since the machine started, whoever used them."""
    wanted = {f"cpu{core}" for core in cores}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *columns = line.split()
        if name in wanted:
            user, nice, system, _idle, _iowait, interrupts, soft_interrupts, stolen = map(int, columns[:8])
            ticks += user + nice + system + interrupts + soft_interrupts + stolen
    return ticks * _TICK_S
