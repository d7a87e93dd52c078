"""The state file flips thousands of times under load: who asks after a flip is served by the new version, at once."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from app.state.model import VERSIONS, promote
from app.state.store import StateStore
from tests.integration.event_streams import Stage, staged
from tests.support.hammering import Hammering
from tests.support.raw_client import RawClient, Response
from tests.support.raw_upstream import reply
from tests.support.router_process import RouterProcess
from tests.support.waiting import wait_until

FLIPS = int(os.environ.get("SWITCH_FLIPS", "2000"))
"""Some twenty seconds; the variable is for a longer run."""

KILL_EVERY = 400
"""After so many flips a worker is killed; the next one has booted long before."""

CLIENTS = 3
"""Of the load; each has one kept connection."""

KEPT = 8
"""Connections of our own that are kept, so that both workers have some."""

GET = b"GET /asked HTTP/1.1\r\nHost: shop.test\r\nAccept: */*\r\n\r\n"

pytestmark = pytest.mark.timeout(120 + FLIPS // 20)


class Flip(NamedTuple):
    """One change of the active version: it holds for all that begins after `returned`."""

    began: float
    returned: float
    version: str


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("flips"), workers=2, graceful_timeout=10) as stage:
        stage.blue.answers(reply(b"blue"))
        stage.green.answers(reply(b"green"))
        yield stage


# --- the ways in which a state file is changed --------------------------------------------------------------


def by_command(path: Path, version: str, content: bytes) -> None:
    """As `switch` does it."""
    store = StateStore(path)
    store.write(promote(store.read(), version, time.time()))


def by_rename(path: Path, version: str, content: bytes) -> None:
    """By hand, with a file that is as old as it gets, as one that was put back from an archive."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    os.utime(temporary, (1, 1))
    temporary.replace(path)


def in_place(path: Path, version: str, content: bytes) -> None:
    """As some editors do it; after another such change neither the inode nor the size is another."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def anew(path: Path, version: str, content: bytes) -> None:
    """The old file is removed, a new one is written where it was."""
    path.unlink()
    path.write_bytes(content)


WAYS: tuple[Callable[[Path, str, bytes], None], ...] = (by_command, by_rename, in_place, in_place, anew)
"""An odd number, so that each way leads to both versions."""


def contents(stage: Stage) -> dict[str, bytes]:
    """A state file for each version, all of one size."""
    ports = {"blue": {"port": stage.blue.port}, "green": {"port": stage.green.port}}
    texts = {name: json.dumps({"active_version": name, "versions": ports}) for name in VERSIONS}
    size = max(map(len, texts.values()))
    return {name: text.ljust(size).encode() for name, text in texts.items()}


# --- who asks -----------------------------------------------------------------------------------------------


class Kept:
    """Connections that have carried requests before, taken in turn."""

    def __init__(self, router: RouterProcess) -> None:
        self._router = router
        self._clients = [self._used() for _ in range(KEPT)]
        self._turn = 0

    def _used(self) -> RawClient:
        client = self._router.connect()
        client.wire.keep_received = False
        assert client.ask(GET).text in VERSIONS
        return client

    def take(self) -> RawClient:
        """The next one."""
        self._turn += 1
        return self._clients[self._turn % KEPT]

    def replace_ended(self) -> int:
        """Put new ones where a killed worker has taken its connections with it; says how many."""
        ended = [number for number, client in enumerate(self._clients) if client.has_bytes()]
        for number in ended:
            assert self._clients[number].how_it_ends() in {"closed", "reset"}
            self._clients[number].wire.close()
            self._clients[number] = self._used()
        return len(ended)

    def close(self) -> None:
        for client in self._clients:
            client.wire.close()


def begin_half(client: RawClient, number: int, active: str) -> bytes:
    """Send a part of a head, every other time behind a whole request; returns the rest of it."""
    cut = 1 + number * 7 % (len(GET) - 1)
    if number % 4 < 2:
        client.send(GET[:cut])
    else:
        client.send(GET, GET[:cut])
        assert client.read_response().text == active
    return GET[cut:]


def asked_after(router: RouterProcess, kept: Kept, number: int, flip: Callable[[], None], active: str) -> list[str]:
    """Flip, and at once ask in three ways, another one first each time; returns who has answered."""
    old, half = kept.take(), kept.take()
    rest = begin_half(half, number, active)
    asking: list[Callable[[], Response]] = [partial(old.ask, GET), partial(router.ask, GET), partial(half.ask, rest)]
    flip()
    first = number % len(asking)
    return [ask().text for ask in asking[first:] + asking[:first]]


class Kill(NamedTuple):
    """A worker was killed, and then it was gone; in between it may still have answered."""

    began: float
    gone: float


def kill_a_worker(router: RouterProcess, turn: int) -> Kill:
    """Kill one of the two and wait until it is no more."""
    wait_until(lambda: len(router.worker_pids) == 2, "two workers", 30)
    victim = sorted(router.worker_pids)[turn % 2]
    moment = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    # Until its master has reaped it: a zombie whose other threads have not ended yet still has its sockets.
    wait_until(lambda: not psutil.pid_exists(victim), "the end of the killed worker")
    return Kill(moment, time.monotonic())


# --- what the load has seen ---------------------------------------------------------------------------------


def versions_within(flips: list[Flip], start: float, end: float) -> set[str]:
    """The versions that may have served a request which began and ended at these moments."""
    first = bisect(flips, start, key=lambda flip: flip.returned) - 1
    after = bisect(flips, end, key=lambda flip: flip.began)
    return {flip.version for flip in flips[max(first, 0) : after]}


FAILURE = re.compile(
    r"(?P<end>[0-9.]+): (?:kept connection, unused for (?P<unused>[0-9.]+) s|new one), after (?P<took>[0-9.]+) s"
)
ROUNDED_S = 0.002


def is_explained(failure: str, kills: list[Kill]) -> bool:
    """Whether a worker was dying between the last answer on the connection and the failure."""
    told = FAILURE.match(failure)
    if told is None:
        return False
    end = float(told["end"])
    since = end - float(told["took"]) - float(told["unused"] or 0)
    return any(since - ROUNDED_S <= kill.gone and kill.began <= end + ROUNDED_S for kill in kills)


def test_who_asks_after_a_flip_is_served_by_the_new_version(stage: Stage) -> None:
    router, written = stage.router, contents(stage)
    stage.switch("blue")
    kept = Kept(router)
    flips = [Flip(0.0, 0.0, "blue")]
    kills: list[Kill] = []
    ended = 0

    with Hammering(router.port, clients=CLIENTS, kept=(2,)) as load:
        for number in range(1, FLIPS + 1):
            version, way = VERSIONS[number % 2], WAYS[number % len(WAYS)]

            def flip(version: str = version, way: Callable[[Path, str, bytes], None] = way) -> None:
                began = time.monotonic()
                way(router.state_file, version, written[version])
                flips.append(Flip(began, time.monotonic(), version))

            answered = asked_after(router, kept, number, flip, flips[-1].version)
            assert answered == [version] * 3, f"flip {number}, {way.__name__}"
            if number % KILL_EVERY == 0:
                kills.append(kill_a_worker(router, number // KILL_EVERY))
                ended += kept.replace_ended()
    kept.close()

    assert [failure for failure in load.failures if not is_explained(failure, kills)] == []
    assert len(load.failures) <= CLIENTS * len(kills), "each had one request in flight"
    expected = [(versions_within(flips, start, end), body) for start, end, body in load.answers]
    assert [body for versions, body in expected if body not in versions] == []
    assert sum(len(versions) == 1 for versions, _ in expected) > FLIPS / 10, "the load came between two flips"
    assert ended or not kills, "a killed worker had some of our connections"
