"""What the clients of a proxy notice while its backends are killed one after the other, and come back."""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import astuple, dataclass, field
from pathlib import Path

from bench.backends import run_backends
from bench.load import at_once
from bench.processes import Cores, Server, free_port

__all__ = ["Clients", "Tally", "kill_in_turn", "tally", "total"]

BACKENDS = 4
WORK_MS = 5.0
"""So long a backend works for an answer, so that each kill finds requests in its hands."""

CLIENTS = 16
DOWN_S, UP_S = 0.5, 1.5
"""How long a killed backend is gone, and how long all are there before the next one is killed."""

RETRY_S = 0.05
"""A client waits so long after a failure, or one that is refused at once would ask a thousand times a second."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of a series of kills.

    Attributes:
        kills: processes killed.
        hit: of these, how many had been given a POST since their start; the others the proxy had left alone.
        in_killed: failed POSTs that only a killed process had received: what no proxy can answer.
        elsewhere: failed POSTs that a process which lived on had received.
        unreceived: failed POSTs that no process had taken: refused, or unread in the socket of a killed one.
        doubled: POSTs that were executed more than once.
    """

    kills: int
    hit: int
    gets: int
    failed_gets: int
    posts: int
    failed_posts: int
    in_killed: int
    elsewhere: int
    unreceived: int
    doubled: int


def total(tallies: Iterable[Tally]) -> Tally:
    """The sums."""
    return Tally(*map(sum, zip(*map(astuple, tallies), strict=True)))


@dataclass(slots=True)
class Clients:
    """Keep-alive clients that ask without pause, a GET and a POST in turn, each for a path of its own.

    `asked` counts requests by method, `failed` has the paths of those that were not answered with 200.
    """

    port: int
    asked: dict[str, int] = field(default_factory=lambda: {"GET": 0, "POST": 0})
    failed: dict[str, list[str]] = field(default_factory=lambda: {"GET": [], "POST": []})
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def asking(self) -> AbstractContextManager[None]:
        """They ask until the block is left, and have their last answers then."""
        return at_once(CLIENTS, self._ask, self._is_over)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._is_over.is_set():
            for method, body in (("GET", None), ("POST", b"an order")):
                path = f"/{next(self._numbers)}"
                is_answered = _is_answered(connection, method, path, body)
                with self._lock:
                    self.asked[method] += 1
                    if not is_answered:
                        self.failed[method].append(path)
                if not is_answered:
                    self._is_over.wait(RETRY_S)
        connection.close()


def _is_answered(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> bool:
    """Whether the request was answered with 200; after anything else the next one gets a new connection."""
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            return True
    except (OSError, http.client.HTTPException):
        pass
    connection.close()
    return False


def tally(clients: Clients, journal: str, killed: Sequence[int]) -> Tally:
    """Compares what clients saw with what the backends noted; `journal` has lines "PID /ID", `killed` pids."""
    receivers: dict[str, list[int]] = {}
    for line in journal.splitlines():
        pid, _, path = line.partition(" ")
        receivers.setdefault(path, []).append(int(pid))
    failed = [receivers.get(path, []) for path in clients.failed["POST"]]
    in_killed = sum(bool(pids) and set(pids) <= set(killed) for pids in failed)
    unreceived = sum(not pids for pids in failed)
    return Tally(
        kills=len(killed),
        hit=len({pid for pids in receivers.values() for pid in pids} & set(killed)),
        gets=clients.asked["GET"],
        failed_gets=len(clients.failed["GET"]),
        posts=clients.asked["POST"],
        failed_posts=len(failed),
        in_killed=in_killed,
        elsewhere=len(failed) - in_killed - unreceived,
        unreceived=unreceived,
        doubled=sum(len(pids) > 1 for pids in receivers.values()),
    )


def kill_in_turn(
    kills: int, folder: Path, cores: Cores, proxy: Callable[[Sequence[int]], AbstractContextManager[Server]]
) -> Tally:
    """Kills backends of a new proxy with SIGKILL, one after the other, while clients ask; each comes back."""
    journal, killed = folder / "journal", []
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        ports = [free_port() for _ in range(BACKENDS)]
        rooms = [stack.enter_context(ExitStack()) for _ in ports]

        def start(number: int) -> Server:
            backend = run_backends(folder, {ports[number]: WORK_MS}, cores.load, str(journal))
            return rooms[number].enter_context(backend)

        running = [start(number) for number in range(BACKENDS)]
        clients = Clients(stack.enter_context(proxy(ports)).port)
        with clients.asking():
            for number in (kill % BACKENDS for kill in range(kills)):
                time.sleep(UP_S)
                os.kill(running[number].pid, signal.SIGKILL)
                killed.append(running[number].pid)
                rooms[number].close()
                time.sleep(DOWN_S)
                running[number] = start(number)
            time.sleep(UP_S)
    return tally(clients, journal.read_text(), killed)
