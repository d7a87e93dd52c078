"""The servers of the page about them, set up as it says: no request is lost, and each ends as the page says.

The settings are read from the page, so that nothing is there which was not tried.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.cli.deploy_traffic import open_traffic
from app.deploy.deployer import Deployer
from app.deploy.deployment import Deployment
from app.deploy.events import Diagnosed, Event, Stopped, Stopping
from app.deploy.judge.gate import Gate
from app.deploy.processes.process_table import Processes
from app.deploy.record.history import History
from app.operator_errors import UnhealthyVersion
from app.settings.tables.app_settings import AppConfig
from app.settings.tables.router_settings import RouterConfig
from app.state.model import VERSIONS
from app.state.store import StateStore
from tests.peers.customers import Customers
from tests.peers.peers import PEERS_BIN
from tests.support.raw_client import RawClient, Response
from tests.support.router_process import ROOT, free_port, running_router
from tests.support.states import put_state
from tests.support.waiting import wait_until
from tests.support.wire import Broken, Truncated

PAGE = ROOT / "docs" / "how-to" / "choose-a-server.md"
SHOP = Path(__file__).with_name("shop")

_ROW = re.compile(r"^\| \[([^\]]+)\]\([^)]*\) \| (\w+) \| is (\w+) \|", re.MULTILINE)
_SECTION = re.compile(r"^##+ ([^\n]+)\n(?:(?!##)[^\n]*\n)*?```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Server:
    """One section of the page, its settings `app`, and what the table says: its signal, and whether it finishes."""

    name: str
    app: dict[str, object]
    stop_signal: str = "TERM"
    finishes: bool = False

    def __str__(self) -> str:
        return self.name


def _servers() -> list[Server]:
    text = PAGE.read_text()
    rows = {row[1]: row for row in _ROW.finditer(text)}
    sections = {section[1]: tomllib.loads(section[2])["app"] for section in _SECTION.finditer(text)}
    assert list(sections) == list(rows)
    return [Server(name, app, rows[name][2], rows[name][3] == "finished") for name, app in sections.items()]


SERVERS = _servers()
NEEDED = {"Node": "node", "PHP's built-in server": "php"}
PYTHON_SERVERS = [server for server in SERVERS if "bin/" in str(server.app["command"])]
DEVELOPMENT_SERVERS = [
    Server("Flask", {"command": ".venv/bin/flask --app flask_shop run --host 127.0.0.1 --port {port}"}),
    Server("Django", {"command": ".venv/bin/python django_shop.py runserver --noreload 127.0.0.1:{port}"}),
]


@dataclass
class Shop:
    """A server as blue and green behind a router."""

    port: int
    deployment: Deployment
    events: list[tuple[float, Event]]

    @property
    def deployer(self) -> Deployer:
        return Deployer(self.deployment, History(self.deployment.store.folder / "history.jsonl"), "test")

    def stops(self) -> list[tuple[float, Stopped]]:
        """How long each stop took, in seconds, and how it ended."""
        begins = [at for at, event in self.events if isinstance(event, Stopping)]
        ends = [(at, event) for at, event in self.events if isinstance(event, Stopped)]
        return [(at - begin, event) for begin, (at, event) in zip(begins, ends, strict=True)]

    def stopped_while_it_answers(self) -> Response | None:
        """Start blue and stop it by force in the midst of an answer; gives the answer if the client gets it whole."""
        self.deployer.start("blue")
        answers: list[Response] = []

        def ask() -> None:
            with suppress(OSError, Broken, Truncated), RawClient(self.port) as client:
                answers.append(client.ask(b"GET /long HTTP/1.1\r\nHost: shop.test\r\n\r\n"))

        asking = threading.Thread(target=ask)
        asking.start()
        traffic = self.deployment.traffic
        assert traffic is not None
        wait_until(lambda: traffic.in_flight("blue") == 1, "a request in flight")
        time.sleep(0.3)  # the server has begun with it
        self.deployer.stop("blue", force=True)
        asking.join()
        return answers[0] if answers and answers[0].status == 200 else None


@contextmanager
def open_shop(server: Server, folder: Path, **app: object) -> Iterator[Shop]:
    """A shop with the server's settings and a router in front; what runs ends with the `with` block."""
    with running_router(folder, free_port(), workers=2, hold_timeout=20) as router:
        shop = furnished(server, folder, router.port, **app)
        try:
            yield shop
        finally:
            for name in VERSIONS:
                shop.deployer.stop(name, force=True)


def furnished(server: Server, folder: Path, port: int = 0, **app: object) -> Shop:
    """A shop with the server's settings, behind the router on `port` if one runs in that folder."""
    for name in VERSIONS:  # each its own directory, or there is no way back to what ran in it
        shutil.copytree(SHOP, folder / name)
    command = str(server.app["command"]).replace(".venv/bin/", f"{PEERS_BIN}/")
    given: dict[str, Any] = {"start_timeout": 60, "health_path": "/", **server.app, **app, "command": command}
    config = AppConfig(dir=str(folder / "{version}"), **given)
    store = StateStore(folder / "bg_state.json")
    put_state(store.path, None, {name: {"port": free_port()} for name in VERSIONS})
    events: list[tuple[float, Event]] = []
    deployment = Deployment(
        store=store,
        processes=Processes(store.folder),
        app=config,
        gate=Gate(config, lambda event: None),
        traffic=open_traffic(RouterConfig(state_file=str(store.path))),
        report=lambda event: events.append((time.monotonic(), event)),
        drain_timeout_s=20,
        hold_timeout_s=20,
    )
    return Shop(port, deployment, events)


def test_page_names_the_versions_that_are_tried() -> None:
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["peers"]
    pinned = dict(line.split("==") for line in group)
    named = dict(re.findall(r"\b(\w+) ([\d.]+\d)", PAGE.read_text().partition("Measured with")[2].partition("\n\n")[0]))
    assert named.pop("uWSGI") == pinned["pyuwsgi"].removesuffix(".post1")
    assert named.keys() - pinned.keys() == {"Node", "PHP"}
    assert {name: pinned.get(name, version) for name, version in named.items()} == named


@pytest.mark.parametrize("server", SERVERS, ids=str)
def test_deploy_restart_and_rollback_lose_nothing(server: Server, tmp_path: Path) -> None:
    if shutil.which(NEEDED.get(server.name, "sh")) is None:
        pytest.skip(f"{NEEDED[server.name]} is not installed")
    with open_shop(server, tmp_path) as shop:
        shop.deployer.start("blue")
        with Customers(shop.port) as customers:
            customers.serve_some()
            shop.deployer.deploy(stop_old=True)
            customers.serve_some()
            shop.deployer.restart("green")
            customers.serve_some()
            shop.deployer.rollback()
            customers.serve_some()
        assert customers.failures == []
        shop.deployer.stop("green")
        # Nobody had to be killed, and nobody waited for the end of its own limit either.
        assert [(stop.was_killed, took_s < shop.deployment.app.stop_timeout / 2) for took_s, stop in shop.stops()] == [
            (False, True)
        ] * 3
        assert shop.deployment.app.stop_signal == server.stop_signal
        assert (shop.stopped_while_it_answers() is not None) == server.finishes


@pytest.mark.parametrize("server", PYTHON_SERVERS, ids=str)
def test_an_application_that_cannot_be_imported_is_no_start(server: Server, tmp_path: Path) -> None:
    shop = furnished(server, tmp_path, start_timeout=6)
    for module in ("shop.py", "api.py"):
        (tmp_path / "blue" / module).write_text("import nothing_of_that_kind\n")
    with pytest.raises(UnhealthyVersion, match="blue on port .* is not healthy"):
        shop.deployer.start("blue")
    told = next(event for _, event in shop.events if isinstance(event, Diagnosed))
    assert "nothing_of_that_kind" in " ".join(told.log_tail)


@pytest.mark.parametrize("stop_signal", ["TERM", "INT"])
@pytest.mark.parametrize("server", DEVELOPMENT_SERVERS, ids=str)
def test_a_development_server_cuts_what_it_has(server: Server, stop_signal: str, tmp_path: Path) -> None:
    with open_shop(server, tmp_path, stop_signal=stop_signal) as shop:
        assert shop.stopped_while_it_answers() is None
