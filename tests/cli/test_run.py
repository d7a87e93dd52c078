"""`make run`'s program with real processes: what it starts, what it ends, what it leaves alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.deploy.processes.process_table import Processes
from app.state.store import StateStore
from tests.support.router_process import free_port, write_state
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
STATE = ".local_context/bg_state.json"
READY = "Ctrl-C here ends"


@pytest.fixture
def port(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Free ports for the router and both versions; no version that a test leaves behind outlives it."""
    number = free_port()
    monkeypatch.setenv("TRAFFIC_ROUTER_MAIN_PORT", str(number))
    monkeypatch.setenv("TRAFFIC_ROUTER_WORKERS", "1")
    (home / STATE).parent.mkdir()
    write_state(home / STATE, None, blue=free_port(), green=free_port())
    yield number
    for name in ("blue", "green"):
        deploy("stop", name, "--force")


def deploy(*argv: str) -> int:
    return subprocess.run(
        [sys.executable, str(ROOT / "bin" / "blue_green_deploy"), *argv], capture_output=True, timeout=50
    ).returncode


def is_running(name: str) -> bool:
    store = StateStore(STATE)
    return Processes(store.folder).find(store.read().version(name)).alive


def is_answered(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(home: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program, its output in `run.log`, in a session of its own; nothing of it is left afterwards."""
    with (
        (home / "run.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "app.cli.run", *options], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.kill()
            for child in children:
                child.kill()


def output(home: Path) -> str:
    return (home / "run.log").read_text()


def wait_until_ready(process: subprocess.Popen[bytes], home: Path) -> None:
    wait_until(lambda: READY in output(home) or process.poll() is not None, "the next steps", 40)
    assert READY in output(home), output(home)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_starts_blue_and_the_router_and_ends_both(home: Path, port: int, number: signal.Signals) -> None:
    with running(home) as process:
        wait_until_ready(process, home)
        assert is_running("blue")
        assert is_answered(port)

        process.send_signal(number)

        assert process.wait(30) == 0, output(home)
    said = output(home)
    assert f"🌐 Traffic router starting on port {port}\n" in said
    assert f"   curl http://127.0.0.1:{port}/health " in said
    assert "Ctrl-C here ends the router and blue." in said
    assert not is_running("blue")
    assert not is_answered(port)


def test_version_that_ran_before_runs_on(home: Path, port: int) -> None:
    assert deploy("start", "green") == 0
    with running(home) as process:
        wait_until_ready(process, home)
        process.send_signal(signal.SIGINT)

        assert process.wait(30) == 0, output(home)
    assert "Ctrl-C here ends the router." in output(home)
    assert "green still runs; end it with: python3 bin/blue_green_deploy stop green --force\n" in output(home)
    assert is_running("green")
    assert not is_running("blue")


def test_a_standby_that_was_started_meanwhile_ends_without_force(home: Path, port: int) -> None:
    with running(home) as process:
        wait_until_ready(process, home)
        assert deploy("start", "green") == 0
        process.send_signal(signal.SIGINT)

        assert process.wait(30) == 0, output(home)
    assert "green still runs; end it with: python3 bin/blue_green_deploy stop green\n" in output(home)
    assert not is_running("blue")


def test_with_all_no_version_is_left_and_the_active_one_starts_again(home: Path, port: int) -> None:
    with running(home, "--all") as process:
        wait_until_ready(process, home)
        assert deploy("deploy") == 0
        process.send_signal(signal.SIGTERM)

        assert process.wait(40) == 0, output(home)
    assert not is_running("blue") and not is_running("green")
    assert "still runs" not in output(home)
    with running(home, "--all") as process:
        wait_until_ready(process, home)
        assert is_running("green") and not is_running("blue")


def test_version_that_does_not_start_ends_it(home: Path, port: int) -> None:
    (home / "traffic_router.toml").write_text('[app]\ncommand = "false"\n')
    with running(home) as process:
        assert process.wait(40) != 0
    assert "Traffic router starting" not in output(home)
    assert not is_running("blue")


def test_taken_port_is_said_before_anything_is_started(home: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)), running(home) as process:
        assert process.wait(20) == 1
    assert f"❌ Port {port} is taken by pid {os.getpid()} (" in output(home)
    assert not is_running("blue")


def test_signal_while_blue_starts_undoes_the_start(home: Path, port: int) -> None:
    (home / "traffic_router.toml").write_text('[app]\ncommand = "sleep 60"\n')
    with running(home) as process:
        wait_until(lambda: "blue started" in output(home), "the start of blue", 20)
        process.send_signal(signal.SIGINT)

        assert process.wait(30) != 0
    assert "Traffic router starting" not in output(home)
    assert not is_running("blue")


def test_second_signal_ends_a_router_that_hangs(home: Path, port: int) -> None:
    with running(home) as process:
        wait_until_ready(process, home)
        (router,) = (
            child for child in psutil.Process(process.pid).children() if "gunicorn" in " ".join(child.cmdline())
        )
        router.suspend()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)

        assert process.wait(30) == 128 + signal.SIGKILL
    assert not is_answered(port)
    assert not is_running("blue")
