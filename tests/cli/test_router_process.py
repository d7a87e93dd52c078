"""What stands in the way of starting, signalling and listening, in words that help."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.cli import lifecycle, router_process
from app.cli.router_client import RouterClient
from app.cli.router_process import RunningRouter, check_port_is_free, gunicorn_command, start_detached, wait_until
from app.operator_errors import OperatorError, ProcessError
from app.settings.loading import load
from app.settings.tables.router_settings import RouterConfig
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import ROOT, free_port, running_router, write_state

LONG_GONE = RunningRouter(pid=4_194_305, port=1, birth="of-another")  # beyond the kernel's highest pid


def test_gone_router_has_no_workers_and_takes_signals_in_silence() -> None:
    assert not LONG_GONE.is_alive()
    assert LONG_GONE.workers() == set()
    LONG_GONE.signal(signal.SIGTERM)


def test_router_of_another_user_is_named_with_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int, number: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "kill", forbidden)
    mine = RunningRouter(os.getpid(), 1, "1")

    with pytest.raises(ProcessError, match=rf"The router \(pid {os.getpid()}\) belongs to \w+") as caught:
        mine.signal(signal.SIGTERM)
    assert caught.value.hint.startswith("sudo -u ")


@pytest.mark.parametrize(
    ("bind", "failure", "said", "hint"),
    [
        ("0.0.0.0", errno.EACCES, "Not allowed to listen on 0.0.0.0:80", "--port with 1024 or more"),
        ("0.0.0.0", errno.EADDRINUSE, "Port 80 is taken by a process that this user cannot see", "sudo lsof -i :80"),
    ],
)
def test_port_that_cannot_be_had_is_explained(
    monkeypatch: pytest.MonkeyPatch, bind: str, failure: int, said: str, hint: str
) -> None:
    def no_socket(*_: object) -> None:
        raise OSError(failure, os.strerror(failure))

    # In this module alone: a thread that another test has left may be accepting connections.
    known = SimpleNamespace(**vars(socket))
    known.socket = no_socket
    monkeypatch.setattr(router_process, "socket", known)
    monkeypatch.setattr(router_process, "port_holder", lambda port: "")

    with pytest.raises(ProcessError) as caught:
        check_port_is_free(RouterConfig(bind=bind, main_port=80))
    assert (str(caught.value), caught.value.hint) == (said, hint)


def test_port_of_another_deployment_is_explained_by_its_name(tmp_path: Path) -> None:
    with running_router(tmp_path / "shop", free_port()) as other:
        with pytest.raises(ProcessError) as caught:
            check_port_is_free(RouterConfig(main_port=other.port, state_file=str(tmp_path / "blog" / "bg_state.json")))
    assert str(caught.value) == f"Port {other.port} is taken by another traffic router, that of {ROOT}"
    assert f"TRAFFIC_ROUTER_HOME={ROOT}" in caught.value.hint


def test_host_that_does_not_exist_is_explained() -> None:
    with pytest.raises(ProcessError, match="Cannot listen on no-such-host.invalid:80: "):
        check_port_is_free(RouterConfig(bind="no-such-host.invalid", main_port=80))


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "::", "localhost", "0.0.0.0"])
def test_free_port_is_free_on_every_kind_of_address(bind: str) -> None:
    check_port_is_free(RouterConfig(bind=bind, main_port=free_port()))


def test_gunicorn_is_that_of_this_python_and_finds_its_settings() -> None:
    python, script, _, settings, app = gunicorn_command()

    assert python == sys.executable
    assert Path(script).is_file()
    assert Path(settings).is_file()
    assert app == "app:wsgi"


def test_detached_process_writes_to_its_log_which_others_cannot_write(home: Path) -> None:
    log = home / "logs" / "a.log"
    umask = os.umask(0)
    try:
        for word in ("one", "two"):
            process = start_detached(["sh", "-c", f"echo {word}; echo $FLAG >&2"], {**os.environ, "FLAG": "x"}, log)
            assert process.wait(5) == 0
    finally:
        os.umask(umask)

    assert log.read_text() == "one\nx\ntwo\nx\n"
    assert log.stat().st_mode & 0o022 == 0
    assert log.parent.stat().st_mode & 0o022 == 0


def test_background_router_that_never_answers_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object) -> subprocess.Popen[bytes]:
        started.append(start_detached(*arguments))  # type: ignore[arg-type]  # handed on as they came
        return started[-1]

    monkeypatch.setattr(lifecycle, "_START_TIMEOUT_S", 0.2)
    monkeypatch.setattr(lifecycle, "gunicorn_command", lambda: ["sh", "-c", "echo hanging; exec sleep 60"])
    monkeypatch.setattr(lifecycle, "start_detached", start)

    with pytest.raises(OperatorError, match="The router did not answer in 0 s; the end of .*router.log:\n   hanging"):
        lifecycle.start_in_background(load({"main_port": str(free_port())}, {}, {}), {})

    assert started[0].returncode == -signal.SIGTERM


def test_waiting_gives_up_at_its_deadline() -> None:
    assert wait_until(lambda elapsed_s: elapsed_s > 0.05, 5)
    assert not wait_until(lambda elapsed_s: False, 0.05)


def test_router_takes_over_the_socket_that_systemd_opened(home: Path) -> None:
    """Socket activation (sd_listen_fds(3)): the port is taken, and rightly so."""
    (home / ".local_context").mkdir()
    with RawUpstream() as upstream, socket.create_server(("127.0.0.1", 0)) as opened:
        write_state(home / ".local_context" / "bg_state.json", "blue", blue=upstream.port)
        port = opened.getsockname()[1]
        command = f'exec 3<&{opened.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        launcher = Path(__file__).resolve().parents[2] / "bin" / "traffic_router"
        with subprocess.Popen(
            ["bash", "-c", command, "bash", sys.executable, str(launcher), "start", f"--port={port}", "--workers=1"],
            pass_fds=[opened.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as router:
            opened.close()
            try:
                client = RouterClient(RouterConfig(main_port=port))
                assert wait_until(lambda _: client.answers() and client.get("/").status == 200, 20)
            finally:
                router.terminate()
        assert router.returncode == 0
