"""`restart` of the active version while clients hammer: requests wait for it, and none fails."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from app.cli.deploy_traffic import open_traffic
from app.config import AppConfig, RouterConfig
from app.deploy.deployer import Deployer
from app.deploy.gate import Gate
from app.deploy.history import History
from app.deploy.processes import Processes
from app.deploy.steps import Steps
from app.state.store import StateStore
from tests.support.hammering import Hammering
from tests.support.router_process import ROOT, free_port, running_router
from tests.support.states import put_state
from tests.support.waiting import wait_until

RESTARTS = 3

COMMAND = (
    f"{shlex.quote(sys.executable)} -m gunicorn -k gthread --threads 8 --keep-alive 75 --no-control-socket "
    f"--pythonpath {shlex.quote(str(ROOT))} -b 127.0.0.1:{{port}} tests.support.apps.plain_app:app"
)
"""Threads and kept connections: what still comes after SIGTERM on a kept connection is lost."""


def test_restart_of_the_active_version_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    with running_router(tmp_path / "site", port, workers=2, hold_timeout=20) as router:
        put_state(router.state_file, None, {"blue": {"port": port}})
        traffic = open_traffic(RouterConfig(state_file=str(router.state_file)))
        assert traffic is not None
        store, app = StateStore(router.state_file), AppConfig(command=COMMAND, dir=str(tmp_path))
        steps = Steps(
            store=store,
            processes=Processes(store.folder),
            app=app,
            gate=Gate(app, lambda event: None),
            traffic=traffic,
            report=lambda event: None,
            drain_timeout_s=20,
            hold_timeout_s=20,
        )
        deployer = Deployer(steps, History(store.folder / "history.jsonl"), "test")
        deployer.start("blue")
        try:
            with Hammering(router.port) as clients:
                for _ in range(RESTARTS):
                    begin = traffic.tallies()["blue"].ended
                    wait_until(lambda: traffic.tallies()["blue"].ended >= begin + 100, "100 more requests", 30)  # noqa: B023
                    deployer.restart("blue")
        finally:
            deployer.stop("blue", force=True)
        assert clients.failures == []
        assert len(clients.answers) >= RESTARTS * 100
