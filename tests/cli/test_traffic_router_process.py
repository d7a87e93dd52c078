"""`traffic_router` with real processes: start, stop, reload, and what stands in their way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.cli.entry import run
from app.cli.lifecycle import banner
from app.cli.router_process import find_router
from app.cli.traffic_router import main
from app.settings.tables.router_settings import RouterConfig
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import free_port, write_state
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(ROOT / "bin" / "traffic_router")]
STATE = ".local_context/bg_state.json"

BANNER = """\
🌐 Traffic router starting on port 5004
   Proxying to active blue-green version
   Health: http://127.0.0.1:5004/__router_health
   Metrics: http://127.0.0.1:5004/__router_metrics"""
"""To the letter as the documentation shows it."""


def test_banner_is_as_documented() -> None:
    assert banner(RouterConfig(dashboard_path="")) == BANNER


def test_banner_names_the_page_and_an_address_of_its_own() -> None:
    assert banner(RouterConfig()) == f"{BANNER}\n   Page: http://127.0.0.1:5004/monitoring"
    metrics, page = banner(RouterConfig(admin_bind="10.0.0.1:5014")).splitlines()[3:]
    assert (metrics, page) == (
        "   Metrics: http://10.0.0.1:5014/__router_metrics",
        "   Page: http://10.0.0.1:5014/monitoring",
    )


@pytest.fixture
def port(home: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port that the settings name, with one worker on it."""
    number = free_port()
    monkeypatch.setenv("TRAFFIC_ROUTER_MAIN_PORT", str(number))
    monkeypatch.setenv("TRAFFIC_ROUTER_WORKERS", "1")
    monkeypatch.setenv("TRAFFIC_ROUTER_GRACEFUL_TIMEOUT", "5")
    return number


@pytest.fixture
def blue(home: Path, upstream: RawUpstream) -> RawUpstream:
    """The application behind the router, active."""
    (home / STATE).parent.mkdir()
    write_state(home / STATE, "blue", blue=upstream.port)
    return upstream


@pytest.fixture
def master(port: int, blue: RawUpstream) -> Iterator[psutil.Process]:
    """That of a router in the background; ended by force if the test leaves it."""
    start_in_background()
    started = psutil.Process(running(port))
    yield started
    if started.is_running():
        for process in [*started.children(), started]:
            process.kill()
        started.wait(5)


def running(port: int) -> int:
    """The pid of the router that the pid file tells of."""
    found = find_router(RouterConfig())
    assert found is not None
    assert found.port == port
    return found.pid


def start_in_background(*argv: str) -> subprocess.CompletedProcess[str]:
    """`start --daemon` that works; by a process of its own, whose child then is nobody's here."""
    done = cli("start", "--daemon", *argv)
    assert done.returncode == 0, done.stderr
    return done


def cli(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *argv], capture_output=True, text=True, timeout=50)


def test_home_may_have_modules_of_the_same_names(home: Path, port: int, blue: RawUpstream) -> None:
    """It may be the application's own folder."""
    for name in ("app", "requests", "gevent", "gunicorn.conf"):
        (home / f"{name}.py").write_text("raise SystemExit('a module of the user was imported')\n")
    start_in_background()
    try:
        for change in ("reload", "upgrade"):
            done = cli(change)
            assert done.returncode == 0, done.stderr
    finally:
        cli("stop")


def test_second_router_of_one_folder_is_refused_on_another_port_too(master: psutil.Process, port: int) -> None:
    """They would write one pid file, and the commands know of one of them only."""
    done = cli("start", "--daemon", f"--port={free_port()}")
    assert (done.returncode, f"already running on port {port} (pid {master.pid})" in done.stderr) == (1, True)
    assert running(port) == master.pid


def test_start_status_test_metrics_reload_stop(master: psutil.Process, port: int) -> None:
    status = cli("status")
    assert status.returncode == 0, status.stdout
    assert "✅ Router: HEALTHY" in status.stdout

    tested = cli("test")
    assert tested.returncode == 0, tested.stdout
    assert "3 of 3 tests passed" in tested.stdout
    assert json.loads(cli("metrics", "--json").stdout)["version_requests"]["blue"] == 2

    before = master.children()
    reloaded = cli("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    assert f"✅ Router reloaded: 1 new worker on port {port} (pid {master.pid})" in reloaded.stdout
    assert not set(before) & set(master.children())

    stopped = cli("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert f"✅ Router stopped (pid {master.pid})" in stopped.stdout
    assert not master.is_running() or master.status() == psutil.STATUS_ZOMBIE
    assert cli("status").returncode == 1


def test_a_reload_in_the_midst_of_an_upgrade_does_not_end_the_router(master: psutil.Process, port: int) -> None:
    workers = len(master.children())
    with subprocess.Popen([*COMMAND, "upgrade"], stdout=subprocess.DEVNULL) as upgrade:
        wait_until(lambda: len(master.children()) > workers, "the new master", 30)
        reloaded = cli("reload")
        assert upgrade.wait(50) == 0
    successor = psutil.Process(running(port))
    try:
        assert successor.pid != master.pid
        assert reloaded.returncode == 1
        assert f"An upgrade has put another router (pid {successor.pid}) in its place" in reloaded.stderr
        assert cli("status").returncode == 0
    finally:
        cli("stop")


def test_of_two_routers_started_at_once_one_runs_and_the_other_says_so(port: int, blue: RawUpstream) -> None:
    starts = [
        subprocess.Popen([*COMMAND, "start", "--daemon"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = {start.communicate(timeout=50)[0]: start.returncode for start in starts}
    pid = running(port)
    try:
        assert sorted(said.values()) == [0, 1], said
        (won,) = [text for text, code in said.items() if code == 0]
        (lost,) = [text for text, code in said.items() if code == 1]
        assert f"✅ Router running in the background (pid {pid})" in won
        assert f"The router is already running on port {port} (pid {pid})" in lost
    finally:
        cli("stop")


def test_foreground_router_prints_the_banner_and_ends_on_sigterm(port: int, blue: RawUpstream) -> None:
    with subprocess.Popen([*COMMAND, "start"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as started:
        try:
            wait_until(lambda: cli("status").returncode == 0, "a healthy router", 30)
            # The launcher has become gunicorn: one process tree for signals and service managers.
            assert running(port) == started.pid
            started.send_signal(signal.SIGTERM)
            assert started.wait(15) == 0
        finally:
            started.kill()
        assert started.stdout is not None
        assert started.stdout.read().startswith(BANNER.replace("5004", str(port)) + "\n")


def test_command_line_wins_over_the_environment(port: int, blue: RawUpstream) -> None:
    other = free_port()

    start_in_background(f"--port={other}")

    try:
        assert find_router(RouterConfig()) is not None
        assert cli("status").returncode == 0  # by the pid file, for the settings still name the other port
        assert json.loads(cli("status", "--json", f"--port={other}").stdout)["active_version"] == "blue"
    finally:
        assert cli("stop").returncode == 0


def test_second_start_names_the_running_router(master: psutil.Process, port: int) -> None:
    second = cli("start")

    assert second.returncode == 1
    assert f"❌ The router is already running on port {port} (pid {master.pid})" in second.stderr
    assert "bin/traffic_router reload" in second.stderr


def test_start_on_a_taken_port_names_the_process(blue: RawUpstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = cli("start", f"--port={port}")

    assert done.returncode == 1
    assert f"❌ Port {port} is taken by pid {os.getpid()} (" in done.stderr
    assert "start with --port=PORT" in done.stderr
    assert done.stdout == ""


def test_start_on_the_port_of_a_version_is_refused(blue: RawUpstream, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(main, ["start", f"--port={blue.port}"]) == 2
    assert f"main_port = {blue.port}: blue listens there" in capsys.readouterr().err


def test_start_on_an_address_of_another_machine_is_explained(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(main, ["start", "--bind=192.0.2.1"]) == 1  # an address for documentation (RFC 5737)
    assert f"❌ Cannot listen on 192.0.2.1:{port}: " in capsys.readouterr().err


def test_start_in_the_background_that_fails_shows_the_log(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--worker-class=no.such.worker")

    done = cli("start", "--daemon")

    assert done.returncode == 1
    assert "❌ The router ended with status " in done.stderr
    assert "the end of .local_context/logs/router.log:\n   " in done.stderr


@pytest.mark.parametrize(
    ("settings", "in_the_way", "said", "code"),
    [
        ("", ".local_context", "❌ .local_context cannot be made: File exists\n   Try: ls -ld ", 1),
        (
            "",
            ".local_context/logs",
            "❌ .local_context/logs/router.log cannot be written: File exists\n   Try: ls -ld ",
            1,
        ),
        ('access_log = "no/log"', "", "access_log = no/log: No such file or directory\n", 2),
    ],
    ids=["folder", "log", "access log"],
)
def test_file_that_cannot_be_made_is_told_before_the_start(
    home: Path, port: int, settings: str, in_the_way: str, said: str, code: int
) -> None:
    (home / "traffic_router.toml").write_text(settings)
    if in_the_way:
        (home / in_the_way).parent.mkdir(exist_ok=True)
        (home / in_the_way).touch()

    done = cli("start", "--daemon")

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_router_that_cannot_say_who_it_is_serves_all_the_same(home: Path, port: int, blue: RawUpstream) -> None:
    """On a full or read-only disk."""
    (home / ".local_context" / "router.pid").mkdir()

    done = cli("start", "--daemon")

    assert done.returncode == 0, done.stderr
    master = int(done.stdout.partition("(pid ")[2].partition(")")[0])
    try:
        assert cli("status").returncode == 0
        stopped = cli("stop").stderr
        assert (
            f"A router (pid {master}) serves on port {port}, but .local_context/router.pid does not name it" in stopped
        )
        assert f"Try: kill -TERM {master}" in stopped
        assert ".local_context/router.pid cannot be written (" in (home / ".local_context/logs/router.log").read_text()
        assert [path.name for path in (home / ".local_context").glob("router.pid*")] == ["router.pid"]
    finally:
        os.kill(master, signal.SIGTERM)
        wait_until(lambda: not psutil.pid_exists(master), "the router's end", 20)


def test_start_with_a_torn_state_says_what_mends_it(home: Path, port: int) -> None:
    (home / STATE).parent.mkdir()
    (home / STATE).write_text('{"active')

    done = start_in_background()
    stopped = cli("stop")

    assert stopped.returncode == 0
    assert "bg_state.json is not usable: not JSON" in done.stderr
    assert "bin/blue_green_deploy repair\n" in done.stderr


def test_router_that_has_never_had_a_state_file_can_be_upgraded(home: Path, port: int) -> None:
    start_in_background()
    upgraded = cli("upgrade")
    stopped = cli("stop")

    assert (upgraded.returncode, stopped.returncode) == (0, 0), upgraded.stderr
    assert not (home / STATE).exists()


def test_start_in_the_background_prints_banner_pid_and_log(port: int) -> None:
    done = start_in_background("--bind=localhost", "--state-file=state/bg.json")
    stopped = cli("stop", "--state-file=state/bg.json")

    assert stopped.returncode == 0
    assert done.stdout.startswith(BANNER.replace("5004", str(port)))
    assert stopped.stdout.endswith(done.stdout.partition("background ")[2].splitlines()[0] + "\n")
    assert "   Log: state/logs/router.log\n" in done.stdout
    assert "⚠️  No version is active: requests get 503" in done.stderr


@pytest.mark.parametrize("command", ["stop", "reload", "upgrade"])
def test_command_for_a_router_that_does_not_run_says_so(
    command: str, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(main, [command]) == 1

    err = capsys.readouterr().err
    assert "❌ Router is not running\n   Try: python3 bin/traffic_router start\n" == err


def test_stop_says_who_else_has_the_port(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("PORT", str(taken.getsockname()[1]))

        assert run(main, ["stop"]) == 1

    assert f"port {os.environ['PORT']} belongs to pid {os.getpid()} (" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"pid": "x", "port": 1, "birth": "of-another"}',
        '{"pid": 1, "port": 1}',
        f'{{"pid": {os.getpid()}, "port": 1, "birth": "of-another"}}',
        '{"pid": 4194305, "port": 1, "birth": "of-another"}',
        f'{{"pid": {os.getpid()}, "port": 1, "create_time": 1.0}}',
    ],
    ids=["empty", "list", "text", "incomplete", "pid of another process", "no such process", "of an earlier program"],
)
def test_pid_file_is_believed_only_with_the_process_birth(home: Path, content: str) -> None:
    (home / ".local_context").mkdir()
    (home / ".local_context" / "router.pid").write_text(content)

    assert find_router(RouterConfig()) is None


def test_start_with_names_that_have_no_address_tells_all_of_them(home: Path) -> None:
    names = 'blue = ["shop.invalid:80", "10.0.0.7:80"]\ngreen = ["next.invalid:80"]\n'
    (home / "traffic_router.toml").write_text(f"[backends]\n{names}")

    done = cli("start")

    assert done.returncode == 2
    for said in ("blue: no address of shop.invalid is known", "green: no address of next.invalid", "getent hosts"):
        assert said in done.stderr
    assert find_router(RouterConfig()) is None


def test_reload_with_a_faulty_setting_leaves_the_router_alone(master: psutil.Process, home: Path) -> None:
    workers = master.children()
    (home / "traffic_router.toml").write_text("pol_size = 5\n")

    done = cli("reload")

    assert done.returncode == 2
    assert "did you mean pool_size?" in done.stderr
    assert master.children() == workers


def test_reload_that_the_router_refuses_tells_why(master: psutil.Process, home: Path) -> None:
    """What this command can read the router cannot: its settings come from its own environment, too."""
    (home / "traffic_router.toml").write_text('access_log = "no/such/folder/log"\n')

    done = cli("reload")

    assert done.returncode == 1
    assert "❌ The router refused to reload and goes on as it is:\n   " in done.stderr
    assert "no/such/folder/log" in done.stderr
    assert master.is_running()


@pytest.mark.parametrize("setting", ["main_port", "bind"])
@pytest.mark.parametrize("command", ["reload", "upgrade"])
def test_another_address_is_refused_for_it_takes_a_restart(
    home: Path, blue: RawUpstream, command: str, setting: str
) -> None:
    port = free_port()
    settings = {"main_port": port, "bind": "127.0.0.1", "workers": 1}
    other = {"main_port": free_port(), "bind": "0.0.0.0"}[setting]
    write_settings(home, settings)
    start_in_background()
    pid = running(port)
    try:
        write_settings(home, {**settings, setting: other, "server_timing": True})
        done = cli(command)
        assert done.returncode == 1, done.stdout
        assert f"listens at 127.0.0.1:{port}" in done.stderr
        assert str(other) in done.stderr
        assert "stop and a start" in done.stderr
        assert running(port) == pid
        write_settings(home, settings)
        assert cli("reload").returncode == 0
    finally:
        assert cli("stop").returncode == 0


def write_settings(home: Path, settings: dict[str, object]) -> None:
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (home / "traffic_router.toml").write_text("\n".join(lines) + "\n")


def test_stop_of_a_router_that_does_not_end_fails(
    master: psutil.Process, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAFFIC_ROUTER_GRACEFUL_TIMEOUT", "1")
    monkeypatch.setattr("app.cli.lifecycle._MARGIN_S", 0.0)
    monkeypatch.setattr("app.cli.lifecycle._BOOT_S", 0.0)
    master.suspend()
    try:
        assert run(main, ["stop"]) == 1
    finally:
        master.resume()

    err = capsys.readouterr().err
    assert f"❌ Router (pid {master.pid}) still runs after 1 s\n   Try: kill -9 {master.pid}\n" == err


def test_reload_of_a_router_that_ends_instead_fails(
    master: psutil.Process, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = master.children()
    master.suspend()

    def end_it() -> None:
        for process in [master, *workers]:
            process.kill()

    ending = threading.Timer(0.5, end_it)
    ending.start()
    assert run(main, ["reload"]) == 1
    ending.join()

    assert "❌ The router ended instead of reloading" in capsys.readouterr().err


def test_reload_whose_workers_do_not_serve_in_time_fails(
    master: psutil.Process, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAFFIC_ROUTER_GRACEFUL_TIMEOUT", "1")
    monkeypatch.setattr("app.cli.lifecycle._MARGIN_S", 0.0)
    monkeypatch.setattr("app.cli.lifecycle._BOOT_S", 0.0)
    master.suspend()
    try:
        assert run(main, ["reload"]) == 1
    finally:
        master.resume()

    assert "❌ The new workers do not serve yet after 1 s" in capsys.readouterr().err


def test_watch_prints_a_line_for_each_look_and_ends_on_ctrl_c(master: psutil.Process) -> None:
    with subprocess.Popen([*COMMAND, "metrics", "--watch=0.1"], stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(3)]
        watching.send_signal(signal.SIGINT)

        assert watching.wait(10) == 0
    for line in lines:
        assert " 0 requests  0.0 req/s  100.0 % ok " in line


def test_watch_waits_for_a_router_that_is_away(master: psutil.Process, tmp_path: Path) -> None:
    looks = tmp_path / "looks.jsonl"  # a pipe that nobody reads would soon be full
    command = [*COMMAND, "metrics", "--watch=0.1", "--json"]
    with (
        looks.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True) as watching,
    ):
        assert watching.stderr is not None
        wait_until(lambda: "\n" in looks.read_text(), "a first look", 20)
        assert json.loads(looks.read_text().splitlines()[0])["total_requests"] == 0
        assert cli("stop").returncode == 0
        assert "⏳ " in watching.stderr.readline()
        watching.send_signal(signal.SIGINT)

        assert watching.wait(10) == 0


def test_router_that_was_started_before_any_version_is_told_with_what_to_do(home: Path, port: int) -> None:
    start_in_background()
    try:
        environ = {**os.environ, "TRAFFIC_ROUTER_HOME": str(home)}
        command = [str(ROOT / "bin" / "blue_green_deploy"), "status", "--json"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        told = json.loads(done.stdout)
        assert (done.returncode, done.stderr, told["active_version"]) == (1, "", None)
        assert told["situation"]["advice"].endswith("bin/blue_green_deploy start blue")
        assert "bin/blue_green_deploy start blue\n" in cli("status").stdout
    finally:
        cli("stop")
