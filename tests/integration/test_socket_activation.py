"""Socket activation: the service manager keeps the port, so a restart makes connections wait instead of refusing them.

The service manager is played as sd_listen_fds(3) describes it: its socket is descriptor 3, and LISTEN_PID names
the process. The command is the one in the unit file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.environment import own_environment
from tests.support.raw_client import RawClient
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import ROOT, RouterProcess, write_state
from tests.support.upgraded import has_ended, master_pid, until_ended
from tests.support.waiting import wait_until

GET = b"GET / HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n"
BECOME = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What the service manager does between fork and exec."""

LAUNCHER = ROOT / "bin" / "traffic_router"


class Manager:
    """What systemd does for a socket unit and its service."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.folder = folder
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self.listener.getsockname()[1]
        write_state(folder / "bg_state.json", "blue", blue=upstream_port)

    def start(self) -> RouterProcess:
        """Starts the service; it is up when a connection is answered, which need not be waited for."""
        names = {"MAIN_PORT": self.port, "BIND": "127.0.0.1", "WORKERS": 1, "GRACEFUL_TIMEOUT": 5}
        environment = own_environment()
        environment |= {f"TRAFFIC_ROUTER_{name}": str(value) for name, value in names.items()}
        environment |= {"TRAFFIC_ROUTER_STATE_FILE": str(self.folder / "bg_state.json"), "LISTEN_FDS": "1"}
        number = self.listener.fileno()
        with (self.folder / "router.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", BECOME, str(number), sys.executable, str(LAUNCHER), "start"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(number,),
                start_new_session=True,
            )
        return RouterProcess(self.folder, self.port, process)


@pytest.fixture
def manager(blue: RawUpstream, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path, blue.port)
    with manager.listener:
        yield manager


def test_router_serves_on_the_socket_that_it_is_given(manager: Manager) -> None:
    with until_ended(manager.start()) as router:
        assert router.ask(GET).body == b"blue"
        assert f"Listening at: http://127.0.0.1:{manager.port}" in router.log


def test_restart_makes_connections_wait(manager: Manager) -> None:
    with until_ended(manager.start()) as router:
        assert router.ask(GET).body == b"blue"
        assert router.stop() == 0
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(RawClient(manager.port, deadline_s=30)) for _ in range(20)]
            for client in waiting:
                client.send(GET)
            assert not waiting[0].has_bytes(0.3)
            with until_ended(manager.start()):
                for client in waiting:
                    assert client.read_response().body == b"blue"


def test_upgrade_hands_the_socket_on(manager: Manager) -> None:
    """Also to a second one: by then the sockets are not where the protocol of systemd has them."""
    with until_ended(manager.start()) as router:
        assert router.ask(GET).body == b"blue"  # the connection waits until it is accepted
        for _ in range(2):
            upgrade(router)
            assert router.ask(GET).body == b"blue"


def upgrade(router: RouterProcess) -> None:
    old = master_pid(router)
    os.kill(old, signal.SIGUSR2)
    wait_until(lambda: master_pid(router) not in (0, old), "the new master", 30)
    wait_until(lambda: has_ended(old), "the old one's end", 20)
