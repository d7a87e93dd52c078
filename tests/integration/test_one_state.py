"""Workers go by one state, also when its file breaks before all of them have seen the newest one."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream, reply
from tests.support.router_process import RouterProcess, running_router
from tests.support.waiting import wait_until

GET = b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"
WORKERS = 3
RELEASES = 7
"""So many that the one which answers tells which state it was, among those that can be meant."""

BREAKS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "torn": lambda path: path.write_bytes(b'{"active_ver'),
    "gone": lambda path: path.unlink(),
}


@pytest.fixture(scope="module")
def releases() -> Iterator[list[RawUpstream]]:
    """Upstreams that each say their number."""
    with ExitStack() as stack:
        made = [stack.enter_context(RawUpstream()) for _ in range(RELEASES)]
        for number, upstream in enumerate(made):
            upstream.answers(reply(b"%d" % number))
        yield made


@pytest.fixture(scope="module")
def three_workers(releases: list[RawUpstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    folder = tmp_path_factory.mktemp("one")
    with running_router(folder, releases[0].port, workers=WORKERS) as router:
        wait_until(lambda: len(router.worker_pids) == WORKERS, "the workers")
        yield router


def holder(router: RouterProcess, client: RawClient) -> int:
    """The worker that holds a client's connection."""
    for pid in router.worker_pids:
        if any(c.raddr and c.raddr.port == client.address[1] for c in psutil.Process(pid).net_connections("tcp")):
            return pid
    raise AssertionError("no worker holds the connection")


@contextmanager
def one_client_of_each(router: RouterProcess) -> Iterator[list[RawClient]]:
    """A kept connection to each worker."""
    with ExitStack() as stack:
        found: dict[int, RawClient] = {}
        for _ in range(200):
            client = stack.enter_context(router.connect())
            client.ask(GET)
            found.setdefault(holder(router, client), client)
            if len(found) == WORKERS:
                break
        assert len(found) == WORKERS
        yield list(found.values())


def state(number: int, releases: list[RawUpstream]) -> bytes:
    """The state file by which release `number` has the traffic."""
    ports = {"blue": {"port": releases[number % RELEASES].port}, "green": {"port": 1}}
    return json.dumps({"active_version": "blue", "serial": number, "versions": ports}).encode()


def replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def tell(workers: list[int], number: signal.Signals) -> None:
    for pid in workers:
        os.kill(pid, number)


@pytest.mark.parametrize("how", BREAKS)
def test_workers_that_have_not_seen_the_newest_state_do_not_fall_back(
    three_workers: RouterProcess, releases: list[RawUpstream], how: str
) -> None:
    with one_client_of_each(three_workers) as clients:
        replace(three_workers.state_file, state(0, releases))
        assert [client.ask(GET).body for client in clients] == [b"0"] * WORKERS
        # Stopped, they cannot come to see it by their own heartbeat.
        idle = [pid for pid in three_workers.worker_pids if pid != holder(three_workers, clients[0])]
        tell(idle, signal.SIGSTOP)
        try:
            replace(three_workers.state_file, state(1, releases))
            assert clients[0].ask(GET).body == b"1"
            BREAKS[how](three_workers.state_file)
        finally:
            tell(idle, signal.SIGCONT)
        for _ in range(3):
            assert [client.ask(GET).body for client in clients] == [b"1"] * WORKERS
    replace(three_workers.state_file, state(0, releases))


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_never_go_back_while_the_file_is_flipped_and_torn(
    three_workers: RouterProcess, releases: list[RawUpstream], seed: int
) -> None:
    chance = random.Random(seed)
    path = three_workers.state_file
    number = newest = 0
    is_over = threading.Event()

    def flip() -> None:
        nonlocal number
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            what = chance.choice(["replace", "edit", "empty", "torn", "gone", "aside"])
            if what in ("replace", "edit"):
                number += number - newest < RELEASES // 2
                content = state(number, releases)
                replace(path, content) if what == "replace" else path.write_bytes(content)
            elif what == "aside" and path.exists():
                path.rename(path.with_suffix(".aside"))
                time.sleep(chance.uniform(0, 0.01))
                path.with_suffix(".aside").rename(path)
            elif what != "gone" or path.exists():
                BREAKS.get(what, BREAKS["torn"])(path)
            time.sleep(chance.choice([0, 0.001, 0.01, 0.06]))
        BREAKS["empty"](path)
        is_over.set()

    with one_client_of_each(three_workers) as clients:
        replace(path, state(0, releases))
        assert {client.ask(GET).body for client in clients} == {b"0"}
        flipping = threading.Thread(target=flip)
        flipping.start()
        asked = 0
        while not is_over.is_set():
            for client in clients:
                ahead = (int(client.ask(GET).body) - newest) % RELEASES
                assert ahead <= RELEASES // 2, f"behind {newest} after {asked} requests"
                newest += ahead
                asked += 1
        flipping.join()
        last = {client.ask(GET).body for client in clients for _ in range(3)}
        assert len(last) == 1, "with a broken file all agree"
        assert asked > 100
    replace(path, state(0, releases))
