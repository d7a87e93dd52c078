"""A request that ends every process which gets it: how many of them the router sends it to."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.raw_client import ask
from tests.support.router_process import ROOT, RouterProcess, free_port, running_router
from tests.support.waiting import wait_until

COMMAND = (
    f"{shlex.quote(sys.executable)} -m gunicorn -k gthread -w 4 --keep-alive 75 --no-control-socket "
    "-b 127.0.0.1:{port} tests.support.apps.poison_app:app"
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the application writes down what it executes."""
    return tmp_path_factory.mktemp("poison") / "executions"


@pytest.fixture(scope="module")
def application(ledger: Path) -> Iterator[int]:
    """The port of a server with four processes, which are replaced when they die."""
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LEDGER": str(ledger)}
    with (ledger.parent / "app.log").open("wb") as log:
        command = shlex.split(COMMAND.format(port=port))
        process = subprocess.Popen(command, cwd=ledger.parent, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(port), "the application's first answer", 30)
        yield port
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module")
def keeping(application: int, ledger: Path) -> Iterator[RouterProcess]:
    """A router that uses connections again."""
    with running_router(ledger.parent / "keeping", application) as router:
        yield router


@pytest.fixture(scope="module")
def opening(application: int, ledger: Path) -> Iterator[RouterProcess]:
    """A router that opens a connection for each request."""
    with running_router(ledger.parent / "opening", application, pool_idle_timeout=0) as router:
        yield router


def _answers(port: int) -> bool:
    try:
        return ask(port, b"GET / HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n").status == 200
    except OSError:
        return False


def poison(router: RouterProcess, ledger: Path, method: str) -> int:
    """Ask for it; gives how many processes have died of it."""
    ledger.write_text("")
    length = "Content-Length: 0\r\n" if method in ("POST", "PUT") else ""
    answer = router.ask(f"{method} /poison HTTP/1.1\r\nHost: x.test\r\n{length}\r\n".encode())
    assert (answer.status, answer.value(b"X-Router-Cause")) == (502, b"upstream_reset")
    assert set(executed := ledger.read_text().split()) == {method}
    return len(executed)


@pytest.mark.parametrize(
    ("method", "deaths"),
    [("GET", 2), ("HEAD", 2), ("OPTIONS", 2), ("PUT", 1), ("DELETE", 1), ("PROPFIND", 1), ("POST", 1), ("PATCH", 1)],
)
def test_poison_on_a_new_connection(opening: RouterProcess, ledger: Path, method: str, deaths: int) -> None:
    assert poison(opening, ledger, method) == deaths


@pytest.mark.parametrize(("method", "deaths"), [("GET", 2), ("DELETE", 2), ("POST", 1)])
def test_poison_on_a_used_connection(keeping: RouterProcess, ledger: Path, method: str, deaths: int) -> None:
    """It might have been closed before: RFC 9110 §9.2.2 lets what is idempotent be repeated then, once."""
    assert keeping.ask(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n").status == 200
    assert poison(keeping, ledger, method) == deaths
