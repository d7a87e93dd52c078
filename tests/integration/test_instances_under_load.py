"""A version of several processes while clients hammer: restarted, scaled, deployed, killed, and no request fails."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.deploy.deployer import Overrides
from app.deploy.events import ReceiptReady
from app.deploy.scaling import drain, scale
from app.operator_errors import DrainTimedOut
from app.state.instances import all_of, one_of
from tests.deploy.instances import step
from tests.integration.test_restart_under_load import COMMANDS, Site, running_site
from tests.support.hammering import Hammering
from tests.support.router_process import ROOT
from tests.support.waiting import wait_until

UNIX = (
    f"{shlex.quote(sys.executable)} -m gunicorn -k gthread --threads 8 --keep-alive 75 --no-control-socket "
    f"--pythonpath {shlex.quote(str(ROOT))} -b unix:{{socket}} tests.support.apps.plain_app:app"
)
BINDS = ["tcp", "unix"]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=BINDS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three processes of blue serve, on ports or on sockets, whose paths have to be short."""
    with TemporaryDirectory() as folder:
        command = UNIX if request.param == "unix" else COMMANDS["threads"]
        settings = {"instances": 3, "instance_port_step": step(), "bind": request.param}
        with running_site(Path(folder) / "site", command, **settings) as site:
            yield site


def pids(site: Site, name: str = "blue") -> list[int]:
    processes = site.deployment.processes
    found = [processes.find(one) for one in all_of(site.deployment.store.read().version(name))]
    return [it.pid for it in found if it.alive and it.pid is not None]


def test_restart_loses_nothing(site: Site) -> None:
    before = pids(site)
    with Hammering(site.router.port, clients=6, kept=(1, 2)) as clients:
        site.wait_for_requests(100)
        site.deployer.restart("blue")
        site.wait_for_requests(100)
    assert clients.failures == []
    assert len(pids(site)) == 3 and not set(before) & set(pids(site))


def test_scaling_loses_nothing(site: Site) -> None:
    with Hammering(site.router.port, clients=6, kept=(1, 2)) as clients:
        for count in (5, 1, 3):
            site.wait_for_requests(100)
            scale(site.deployer, "blue", count)
            assert len(pids(site)) == count
        site.wait_for_requests(100)
    assert clients.failures == []


def test_deploy_and_rollback_lose_nothing(site: Site) -> None:
    with Hammering(site.router.port, clients=6, kept=(1, 2)) as clients:
        site.wait_for_requests(100)
        site.deployer.deploy(Overrides(release="r2"))
        wait_until(lambda: site.traffic.tallies()["green"].ended > 100, "green's requests", 30)
        site.deployer.rollback(wait=True)
        site.wait_for_requests(100)
    assert clients.failures == []
    *_, there, back = (event.receipt for event in site.events if isinstance(event, ReceiptReady))
    for account in (*there.accounts.values(), *back.accounts.values()):
        assert len(account.backends) in (0, 3)
    now = back.accounts["blue"]
    assert sum(one.started for one in now.backends.values()) >= now.started > 0, "they are read a moment later"


def test_drained_one_gets_no_request(site: Site) -> None:
    drain(site.deployer, "blue", "2")
    second = site.deployment.addresses(site.deployment.store.read().version("blue"))[1]
    with Hammering(site.router.port, clients=4) as clients:
        for _ in range(20):
            site.wait_for_requests(10)
            assert site.traffic.in_flight_on("blue", [second]) == 0
    assert clients.failures == []


def test_drain_right_after_scaling_waits_for_the_requests_of_before(tmp_path: Path) -> None:
    with running_site(tmp_path / "site", COMMANDS["threads"], instance_port_step=step()) as site, ExitStack() as stack:
        client = stack.enter_context(site.router.connect())
        client.send(b"POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 2\r\n\r\n1")
        wait_until(lambda: site.traffic.in_flight("blue") == 1, "the request to be on its way")
        scale(site.deployer, "blue", 2)
        site.deployment.drain_timeout_s = 0.5
        with pytest.raises(DrainTimedOut):
            drain(site.deployer, "blue", "1")
        client.send(b"2")
        assert client.read_response().text == "blue"
        site.deployment.drain_timeout_s = 10
        drain(site.deployer, "blue", "1")


def test_one_that_is_killed_is_started_again_while_the_others_serve(site: Site) -> None:
    """What it has in hand when it dies goes to another one: these are GETs."""
    blue = site.deployment.store.read().version("blue")
    with Hammering(site.router.port, clients=4) as clients:
        site.wait_for_requests(100)
        before = pids(site)
        os.kill(before[1], signal.SIGKILL)
        site.wait_for_requests(100)
        wait_until(lambda: len(pids(site)) == 3 and pids(site) != before, "its restart", 30)
        site.wait_for_requests(100)
    restarts = site.deployment.processes.find(one_of(blue, 2)).restarts
    assert restarts is not None and restarts.times == 1
    assert len(clients.failures) <= 1
