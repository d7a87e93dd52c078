"""What the kernel knows of a port on which nothing listens: whether a server can have it, and who else may get it."""

from __future__ import annotations

import errno
import re
import socket
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from app.transport.loopback import family_of

__all__ = ["can_listen", "given_away_text", "kept_by"]

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

_STATES = {
    "01": "ESTABLISHED",
    "04": "FIN-WAIT-1",
    "05": "FIN-WAIT-2",
    "06": "TIME-WAIT",
    "08": "CLOSE-WAIT",
    "09": "LAST-ACK",
    "0B": "CLOSING",
}
"""Of <linux/tcp_states.h>, as `ss` spells them; LISTEN and those of an opening connection are left out."""

_TICKS_PER_S = 100
"""USER_HZ, in which the table's timers count."""

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def can_listen(address: str, port: int) -> bool:
    """Whether a server that sets SO_REUSEADDR can have the port.

    It cannot while there is a connection, be it in TIME-WAIT, of a server that did not set it: both must have.
    """
    with socket.socket(family_of(address)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # what else may be wrong, the server says itself
    return True


def kept_by(port: int) -> str:
    """The connections on a local port, as "2 connections of a former server (TIME-WAIT), free in 58 s"; "" for none.

    When all only wait for their timers, the last one's is told.
    """
    found: Counter[str] = Counter()
    timers: list[int | None] = []
    for table in _TABLES:
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                # sl, local address:port, remote address:port, state, queues, timer:when, … (proc(5))
                _, local, _, state, _, timer, *_ = line.split()
                if int(local.rpartition(":")[2], 16) == port and state in _STATES:
                    found[_STATES[state]] += 1
                    kind, _, ticks = timer.partition(":")
                    timers.append(int(ticks, 16) if kind == "03" else None)  # 03: of TIME-WAIT
    if not found:
        return ""
    free = f", free in {max(filter(None, timers), default=0) / _TICKS_PER_S:.0f} s" if None not in timers else ""
    count = f"{len(timers)} connection{'s'[: len(timers) > 1]}"
    return f"{count} of a former server ({', '.join(sorted(found))}){free}"


def given_away_text(ports: Mapping[str, int]) -> tuple[str, str] | None:
    """What is wrong with ports, by whom they are for, that the kernel also gives to outgoing connections, and what
    mends it; None when it gives away none of them.
    """
    try:
        low, high = map(int, _RANGE.read_text().split())
        reserved = _RESERVED.read_text().strip()
    except (OSError, ValueError):
        return None
    spared = [tuple(map(int, part.split("-"))) for part in re.findall(r"[0-9]+(?:-[0-9]+)?", reserved)]
    taken = {
        name: port
        for name, port in ports.items()
        if low <= port <= high and not any(part[0] <= port <= part[-1] for part in spared)
    }
    if not taken:
        return None
    named = ", ".join(f"port {port} of {name}" for name, port in taken.items())
    list_of = ",".join(filter(None, [reserved, *map(str, taken.values())]))
    return (
        f"{named}: any outgoing connection of this machine may get it from the kernel, which gives {low} to {high}",
        f"sudo sysctl -w net.ipv4.ip_local_reserved_ports={list_of}",
    )
