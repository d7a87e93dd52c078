"""`restart` of the active version while clients hammer: requests wait for it, and none fails."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.cli.deploy_traffic import open_traffic
from app.deploy.deployer import Deployer
from app.deploy.deployment import Deployment
from app.deploy.events import Event
from app.deploy.judge.gate import Gate
from app.deploy.processes.process_table import Processes
from app.deploy.record.history import History
from app.event_file import EventFile
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.router_settings import RouterConfig
from app.state.model import VERSIONS
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
    """A router with two workers, and the commands on its version; `settings` are further ones of `[app]`."""

    def __init__(self, router: RouterProcess, command: str, **settings: Any) -> None:
        self.router = router
        self.events: list[Event] = []
        found = open_traffic(RouterConfig(state_file=str(router.state_file)))
        assert found is not None
        self.traffic = found
        store = StateStore(router.state_file)
        app = AppConfig(command=command, dir=str(router.folder), restart="on-failure", restart_delay=0.1, **settings)
        self.deployment = Deployment(
            store=store,
            processes=Processes(store.folder),
            app=app,
            gate=Gate(app, lambda event: None),
            traffic=found,
            report=self.events.append,
            drain_timeout_s=20,
            hold_timeout_s=20,
        )
        self.deployer = Deployer(self.deployment, History(store.folder / "history.jsonl"), "test")

    def has_restarted(self, times: int) -> bool:
        """Whether the version was started again so often, and lives."""
        found = self.deployment.processes.find(self.deployment.store.read().version("blue"))
        return found.alive and found.restarts is not None and found.restarts.times == times

    def wait_for_requests(self, count: int) -> None:
        """Wait until the version has answered so many more."""
        begin = self.traffic.tallies()["blue"].ended
        wait_until(lambda: self.traffic.tallies()["blue"].ended >= begin + count, f"{count} more requests", 30)


@contextlib.contextmanager
def running_site(folder: Path, command: str, **settings: Any) -> Iterator[Site]:
    """A site whose blue version runs, for the length of a `with` block."""
    port = free_port()
    with running_router(folder, port, workers=2, hold_timeout=20) as router:
        put_state(router.state_file, None, {"blue": {"port": port}, "green": {"port": free_port()}})
        site = Site(router, command, **settings)
        site.deployer.start("blue")
        try:
            yield site
        finally:
            for name in VERSIONS:
                site.deployer.stop(name, force=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_restart_of_the_active_version_loses_nothing(tmp_path: Path, name: str) -> None:
    with running_site(tmp_path / "site", COMMANDS[name]) as site:
        with Hammering(site.router.port) as clients:
            for _ in range(RESTARTS):
                site.wait_for_requests(100)
                site.deployer.restart("blue")
        assert clients.failures == []
        assert len(clients.answers) >= RESTARTS * 100


def test_version_that_is_killed_comes_back_by_itself_and_requests_wait_for_it(tmp_path: Path) -> None:
    """What dies with it may be lost: a request whose second attempt is reset as well is not sent a third time."""
    with running_site(tmp_path / "site", COMMANDS["threads"]) as site:
        version = site.deployment.store.read().version("blue")
        with Hammering(site.router.port) as clients:
            for restarts in range(1, RESTARTS + 1):
                site.wait_for_requests(100)
                found = site.deployment.processes.find(version)
                assert found.pid is not None
                os.kill(found.pid, signal.SIGKILL)
                wait_until(partial(site.has_restarted, restarts), "the restart", 30)
        assert len(clients.failures) <= RESTARTS * 4, "each client has one request at a time"
        assert len(clients.answers) >= RESTARTS * 100
        events = EventFile(site.router.state_file.with_name("events.jsonl"))
        wait_until(lambda: [it.event for it in events.read()].count("restarted") >= 1, "the events")


def test_version_that_is_stopped_has_no_idle_connections(tmp_path: Path) -> None:
    """Who closes first is remembered by the kernel on its port: that is to be the router."""
    with running_site(tmp_path / "site", COMMANDS["sticky"]) as site:
        for _ in range(2):
            with Hammering(site.router.port, clients=8):
                site.wait_for_requests(50)
            site.deployer.restart("blue")  # raises when the new process cannot listen
            assert site.router.ask(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n").status == 200
