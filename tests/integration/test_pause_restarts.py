"""A pause while the router is reloaded, upgraded or stopped: what waits goes on waiting, or is told that it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.holding import GET, traffic, wait_held
from tests.support.environment import own_environment
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.router_farm import Pair, running_pair
from tests.support.router_process import ROOT, RouterProcess, running_router
from tests.support.states import pause_for, put_state
from tests.support.upgraded import has_ended, master_pid, record, until_ended
from tests.support.waiting import wait_until

GRACEFUL_S = 2

Change = Callable[[RouterProcess], int]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Pair]:
    """A router that lets its workers finish for two seconds."""
    with running_pair(tmp_path, graceful_timeout=GRACEFUL_S) as (router, upstream), until_ended(router):
        yield router, upstream


@pytest.fixture
def client(router: RouterProcess, upstream: RawUpstream) -> Iterator[RawClient]:
    """A client whose request waits in a pause of a minute."""
    pause(router, upstream, 60)
    with RawClient(router.port, deadline_s=30) as client:
        client.send(GET)
        wait_held(router, 1)
        yield client


def pause(router: RouterProcess, upstream: RawUpstream, seconds: float) -> None:
    put_state(router.state_file, "blue", {"blue": {"port": upstream.port}}, pause=pause_for(seconds))


def reload(router: RouterProcess) -> int:
    """Reload and wait until a new worker answers; gives the old one's pid."""
    (old,) = router.worker_pids
    router.reload()
    wait_until(lambda: traffic(router)["worker"]["pid"] != old, "a new worker", 30)
    return old


def upgrade(router: RouterProcess) -> int:
    """Upgrade and wait until the new master is in charge; gives the old one's pid."""
    old = master_pid(router)
    os.kill(old, signal.SIGUSR2)
    wait_until(lambda: master_pid(router) != old and record(router), "the new master", 30)
    return old


def assert_told_to_come_back(client: RawClient) -> None:
    answer = client.read_response()
    assert (answer.status, answer.value(b"X-Router-Cause")) == (503, b"paused")
    assert 20 < int(answer.value(b"Retry-After") or b"0") <= 60, "the rest of the pause"


@pytest.mark.parametrize("change", [reload, upgrade])
def test_request_waits_on_in_the_old_worker(
    router: RouterProcess, upstream: RawUpstream, client: RawClient, change: Change
) -> None:
    old = change(router)
    assert not client.has_bytes(2 * GRACEFUL_S), "longer than graceful_timeout"
    router.set_state("blue", blue=upstream.port)
    assert client.read_response().body == b"ok"
    wait_until(lambda: has_ended(old), "the end of who held it", 20)


def test_stop_tells_who_waits_that_it_is_of_no_use(router: RouterProcess, client: RawClient) -> None:
    router.process.terminate()
    assert_told_to_come_back(client)
    assert router.process.wait(20) == 0


def test_stop_waits_for_a_pause_that_ends_in_time(blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, graceful_timeout=20) as router:
        pause(router, blue, 4)
        with RawClient(router.port, deadline_s=30) as client:
            client.send(GET)
            wait_held(router, 1)
            router.process.terminate()
            assert client.read_response().body == b"blue"
        assert router.process.wait(20) == 0


@pytest.mark.parametrize("change", [reload, upgrade])
def test_stop_reaches_who_waits_in_an_old_worker(router: RouterProcess, client: RawClient, change: Change) -> None:
    old = change(router)
    os.kill(master_pid(router), signal.SIGTERM)
    assert_told_to_come_back(client)
    wait_until(lambda: has_ended(old) and not record(router), "the end of all", 20)


@pytest.mark.parametrize("word", ["reload", "upgrade"])
def test_command_does_not_wait_for_the_pause(router: RouterProcess, client: RawClient, word: str) -> None:
    environment = own_environment()
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.traffic_router", word, f"--state-file={router.state_file}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"✅ Router {word}" in done.stdout
    assert "Traffic is paused: what waits in the old workers waits on" in done.stdout
    assert not client.has_bytes(0)
