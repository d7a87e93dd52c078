"""USR2: a new master, with another interpreter or other packages, takes over without a lost request."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.server.next_start import Start, read_start, write_start
from tests.support.environment import own_environment
from tests.support.hammering import Hammering
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import Exchange, RawUpstream, reply
from tests.support.router_farm import Pair, running_pair
from tests.support.router_process import ROOT, RouterProcess, start_router
from tests.support.upgraded import has_ended, master_pid, record, until_ended
from tests.support.waiting import wait_until

CONFIG = (ROOT / "gunicorn.conf.py").read_text()
GET = b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"


@pytest.fixture(scope="module")
def running(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("router")
    with running_pair(folder, root=project, workers=2, graceful_timeout=10) as pair, until_ended(pair[0]):
        yield pair


@pytest.fixture(autouse=True)
def put_back(project: Path) -> Iterator[None]:
    """What a test has changed of the project."""
    yield
    (project / "traffic_router.toml").unlink(missing_ok=True)
    (project / "gunicorn.conf.py").write_text(CONFIG)


def upgrade(router: RouterProcess) -> tuple[int, int]:
    """Ask for an upgrade and wait until the old master has ended; gives the pids, old and new."""
    old = master_pid(router)
    os.kill(old, signal.SIGUSR2)
    new = wait_until(lambda: (pid := master_pid(router)) != old and pid, "the new master", 30)
    wait_until(lambda: has_ended(old), "the end of the old master", 20)
    return old, new


def test_upgrade_under_load_loses_nothing_and_counts_on(router: RouterProcess, upstream: RawUpstream) -> None:
    before = int(str(router.metrics()["total_requests"]))
    with Hammering(router.port, clients=2) as clients:
        wait_until(lambda: len(upstream.exchanges) > 100, "100 requests", 20)
        old, new = upgrade(router)
        seen = len(upstream.exchanges)
        wait_until(lambda: len(upstream.exchanges) > seen + 100, "100 more", 20)
    assert clients.failures == []
    assert max(end - start for start, end, _ in clients.answers) < 0.5
    expected = before + len(clients.answers)
    wait_until(lambda: router.metrics()["total_requests"] == expected, "balanced counters")
    assert {child.ppid() for child in psutil.Process(new).children()} == {new}
    assert record(router)["fault"] == ""


def test_upgrade_can_be_done_again(router: RouterProcess) -> None:
    first = upgrade(router)
    second = upgrade(router)
    assert first[1] == second[0]
    assert router.ask(GET).body == b"ok"


@pytest.mark.parametrize("content", [None, b"{"], ids=["gone", "torn"])
def test_last_good_state_goes_on_over_upgrades(router: RouterProcess, content: bytes | None) -> None:
    kept = router.state_file.read_bytes()
    try:
        router.state_file.unlink()
        if content is not None:
            router.state_file.write_bytes(content)
        for _ in range(2):
            upgrade(router)
            assert router.ask(GET).body == b"ok"
    finally:
        router.state_file.write_bytes(kept)


def test_request_in_flight_ends_in_the_old_worker(router: RouterProcess, upstream: RawUpstream) -> None:
    old = master_pid(router)

    def until_replaced(exchange: Exchange) -> None:
        wait_until(lambda: master_pid(router) != old, "the new master", 30)
        exchange.send(reply(b"late"))

    upstream.handler = until_replaced
    with RawClient(router.port, deadline_s=30) as client:
        client.send(GET)
        wait_until(lambda: upstream.exchanges, "the request")
        upgrade(router)
        assert client.read_response().body == b"late"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param("traffic_router.toml", "read_timeout = -1\n", id="settings"),
        pytest.param("gunicorn.conf.py", "import no_such_package\n", id="package"),
        pytest.param(
            "gunicorn.conf.py", CONFIG + "\ndef post_fork(server, worker):\n    raise ValueError\n", id="worker"
        ),
        pytest.param("gunicorn.conf.py", CONFIG.replace("_config.pid_path", "'elsewhere.pid'"), id="moved pid file"),
    ],
)
def test_upgrade_that_does_not_boot_leaves_the_old_router(
    router: RouterProcess, project: Path, file: str, content: str
) -> None:
    old, changes, workers = master_pid(router), record(router)["changes"], children(router)
    (project / file).write_text(content)
    with Hammering(router.port, clients=1) as clients:
        os.kill(old, signal.SIGUSR2)
        wait_until(lambda: record(router).get("changes") != changes, "the failure", 30)
    assert "ended before it served" in str(record(router)["fault"])
    assert (master_pid(router), children(router)) == (old, workers)
    assert clients.failures == []


def test_new_master_that_cannot_be_executed_leaves_the_old_workers(
    blue: RawUpstream, project: Path, tmp_path: Path
) -> None:
    """As when its Python is gone."""
    with (project / "gunicorn.conf.py").open("a") as file:
        file.write("\ndef pre_exec(server):\n    raise OSError('there is none')\n")
    with until_ended(start_router(tmp_path / "router", blue.port, {"graceful_timeout": 5}, root=project)) as router:
        workers = children(router)
        with Hammering(router.port, clients=1) as clients:
            os.kill(router.process.pid, signal.SIGUSR2)
            wait_until(lambda: record(router).get("fault"), "the failure", 30)
        assert "The new master cannot be started: there is none" in router.log
        assert children(router) == workers
        assert clients.failures == []


def test_new_master_that_cannot_take_the_pid_file_over_leaves_the_old_one(router: RouterProcess) -> None:
    """Full disk: without the file the old master would take the new one's signal for the end of both."""
    old, workers, kept = master_pid(router), children(router), router.folder / "kept.pid"
    pid_file = router.folder / "router.pid"
    pid_file.rename(kept)
    pid_file.mkdir()
    try:
        with Hammering(router.port, clients=1) as clients:
            os.kill(old, signal.SIGUSR2)
            wait_until(lambda: "router.pid cannot be written: Is a directory" in router.log, "the failure", 30)
            wait_until(lambda: children_of(old) == workers, "the end of the new master", 20)
        assert clients.failures == []
    finally:
        pid_file.rmdir()
        kept.rename(pid_file)


def children(router: RouterProcess) -> set[int]:
    return children_of(master_pid(router))


def children_of(pid: int) -> set[int]:
    return {child.pid for child in psutil.Process(pid).children()}


def test_command_upgrades_and_tells_the_pids(router: RouterProcess, project: Path) -> None:
    old = master_pid(router)
    done = command(router, project, "upgrade")
    assert done.returncode == 0, done.stderr
    assert (
        f"✅ Router upgraded: 2 new workers on port {router.port} (pid {master_pid(router)}, was {old})" in done.stdout
    )


def test_command_tells_why_an_upgrade_failed(router: RouterProcess, project: Path) -> None:
    old = master_pid(router)
    (project / "gunicorn.conf.py").write_text("import no_such_package\n")
    done = command(router, project, "upgrade")
    assert done.returncode == 1
    assert "ended before it served; the old one" in done.stderr
    assert f"(pid {old}) goes on" in done.stderr
    assert router.ask(GET).body == b"ok"


def command(router: RouterProcess, project: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = own_environment()
    return subprocess.run(
        [sys.executable, "-m", "app.cli.traffic_router", *argv, f"--state-file={router.state_file}"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_service_manager_is_told_of_the_new_main_process(
    blue: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd believes only the main process, so the old one says it before it ends (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with until_ended(start_router(tmp_path / "router", blue.port, {"graceful_timeout": 5})) as router:
            assert manager.recv(100).startswith(b"READY=1\n")
            _, new = upgrade(router)
            assert manager.recv(100).startswith(b"READY=1\n")  # the new one's, which systemd does not listen to
            assert manager.recv(100) == b"MAINPID=%d" % new


SLOW_TO_EXECUTE = """
import time
_at_once = globals().get("pre_exec", lambda server: None)
def pre_exec(server):
    time.sleep(1)
    _at_once(server)
"""
"""What makes the moment long in which a new master is a copy of the old one still."""


@pytest.mark.parametrize("settings", ["", SLOW_TO_EXECUTE], ids=["executed", "forked"])
def test_term_before_the_new_master_serves_ends_both(
    blue: RawUpstream, project: Path, tmp_path: Path, settings: str
) -> None:
    with (project / "gunicorn.conf.py").open("a") as file:
        file.write(settings)
    with until_ended(start_router(tmp_path / "router", blue.port, {"graceful_timeout": 5}, root=project)) as router:
        old = router.process.pid
        workers = set(router.worker_pids)
        os.kill(old, signal.SIGUSR2)
        new = wait_until(lambda: set(router.worker_pids) - workers, "the new master")
        os.kill(old, signal.SIGTERM)
        assert router.process.wait(20) == 0
        wait_until(lambda: all(has_ended(pid) for pid in new), "the end of the new master", 20)
        assert record(router) == {}


# --- a checkout for each release ---------------------------------------------------------------------------


@pytest.fixture
def next_checkout(project: Path, tmp_path: Path) -> Path:
    """The same program in another directory, as a link `current` comes to lead to it."""
    return shutil.copytree(project, tmp_path / "next")


def checkout(router: RouterProcess) -> Path:
    process = psutil.Process(master_pid(router))
    settings = next(argument for argument in process.cmdline() if argument.endswith("gunicorn.conf.py"))
    return Path(process.cwd(), settings).parent


def test_upgrade_moves_the_router_to_the_checkout_that_it_is_typed_in(
    blue: RawUpstream, project: Path, next_checkout: Path, tmp_path: Path
) -> None:
    with until_ended(start_router(tmp_path / "router", blue.port, {"graceful_timeout": 5}, root=project)) as router:
        warned = command(router, next_checkout, "reload")
        assert f"⚠️  The router runs {project}, and this is {next_checkout}" in warned.stdout
        (next_checkout / "gunicorn.conf.py").write_text("import no_such_package\n")
        failed = command(router, next_checkout, "upgrade")
        assert (failed.returncode, checkout(router)) == (1, project), failed.stdout + failed.stderr
        (next_checkout / "gunicorn.conf.py").write_text(CONFIG)
        with Hammering(router.port, clients=1) as clients:
            again = command(router, project, "upgrade")
            assert (again.returncode, checkout(router)) == (0, project), again.stdout + again.stderr
            done = command(router, next_checkout, "upgrade")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"   It runs {next_checkout} now, and ran {project}\n" in done.stdout
        assert checkout(router) == next_checkout
        for worker in children(router):
            assert Path(f"/proc/{worker}/cwd").resolve() == next_checkout
        assert clients.failures == []
        assert not list(router.folder.glob("router.next"))


def test_where_the_next_router_is_started_is_no_strangers_to_say(tmp_path: Path) -> None:
    start = Start(["/bin/false"], "/", "")
    path = write_start(tmp_path / "router.pid", start)
    assert read_start(tmp_path / "router.pid") == start
    assert read_start(tmp_path / "router.pid") is None, "it holds once"
    write_start(tmp_path / "router.pid", start)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert read_start(tmp_path / "router.pid") is None
    path.unlink()
    path.write_text("torn {")
    assert read_start(tmp_path / "router.pid") is None
