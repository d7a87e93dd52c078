"""`restart` of the active version while clients hammer: requests wait for it, and none fails."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.deploy_traffic import open_traffic
from app.config import AppConfig, RouterConfig
from app.deploy.deployer import Deployer
from app.deploy.gate import Gate
from app.deploy.history import History
from app.deploy.processes import Processes
from app.deploy.steps import Steps
from app.state.store import StateStore
from tests.support.hammering import Hammering
from tests.support.router_process import ROOT, RouterProcess, free_port, running_router
from tests.support.states import put_state
from tests.support.waiting import wait_until

RESTARTS = 3

_PYTHON = shlex.quote(sys.executable)

COMMANDS = {
    # Threads and kept connections: what still comes after SIGTERM on a kept connection is lost.
    "threads": f"{_PYTHON} -m gunicorn -k gthread --threads 8 --keep-alive 75 --no-control-socket "
    f"--pythonpath {shlex.quote(str(ROOT))} -b 127.0.0.1:{{port}} tests.support.apps.plain_app:app",
    # It cannot start again while the kernel remembers a connection that it has closed before its peer did.
    "sticky": f"env PYTHONPATH={shlex.quote(str(ROOT))} {_PYTHON} -m tests.support.apps.sticky_app {{port}}",
}


class Site:
    """A router with two workers, and the commands on its version."""

    def __init__(self, router: RouterProcess, command: str) -> None:
        self.router = router
        found = open_traffic(RouterConfig(state_file=str(router.state_file)))
        assert found is not None
        self.traffic = found
        store, app = StateStore(router.state_file), AppConfig(command=command, dir=str(router.folder))
        self.steps = Steps(
            store=store,
            processes=Processes(store.folder),
            app=app,
            gate=Gate(app, lambda event: None),
            traffic=found,
            report=lambda event: None,
            drain_timeout_s=20,
            hold_timeout_s=20,
        )
        self.deployer = Deployer(self.steps, History(store.folder / "history.jsonl"), "test")

    def wait_for_requests(self, count: int) -> None:
        """Wait until the version has answered so many more."""
        begin = self.traffic.tallies()["blue"].ended
        wait_until(lambda: self.traffic.tallies()["blue"].ended >= begin + count, f"{count} more requests", 30)


@contextlib.contextmanager
def running_site(folder: Path, command: str) -> Iterator[Site]:
    """A site whose blue version runs, for the length of a `with` block."""
    port = free_port()
    with running_router(folder, port, workers=2, hold_timeout=20) as router:
        put_state(router.state_file, None, {"blue": {"port": port}})
        site = Site(router, command)
        site.deployer.start("blue")
        try:
            yield site
        finally:
            site.deployer.stop("blue", force=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_restart_of_the_active_version_loses_nothing(tmp_path: Path, name: str) -> None:
    with running_site(tmp_path / "site", COMMANDS[name]) as site:
        with Hammering(site.router.port) as clients:
            for _ in range(RESTARTS):
                site.wait_for_requests(100)
                site.deployer.restart("blue")
        assert clients.failures == []
        assert len(clients.answers) >= RESTARTS * 100


def test_version_that_is_stopped_has_no_idle_connections(tmp_path: Path) -> None:
    """Who closes first is remembered by the kernel on its port: that is to be the router."""
    with running_site(tmp_path / "site", COMMANDS["sticky"]) as site:
        for _ in range(2):
            with Hammering(site.router.port, clients=8):
                site.wait_for_requests(50)
            site.deployer.restart("blue")  # raises when the new process cannot listen
            assert site.router.ask(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n").status == 200
