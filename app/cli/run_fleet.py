"""`make fleet`: etcd and three nodes on this machine, each with a folder and ports of its own; Ctrl-C ends them all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.address import Address
from app.cli.entry import run
from app.command_line import PROGRAM
from app.deploy.run.interruption import be_interruptible
from app.installation import ROOT
from app.operator_errors import ConfigError, ProcessError
from app.settings.loading import HOME_VARIABLE
from app.transport.loopback import is_open

__all__ = ["main"]

_FIRST_PORT: Final = 5100
"""etcd's; a node has those from the next ten on."""

_NODES: Final = 3
_READY_S: Final = 60.0

_SETTINGS: Final = """\
main_port = {port}
bind = "127.0.0.1"
workers = 1

[app]
blue_port = {blue}
green_port = {green}

[fleet]
name = "try"
node = "node-{number}"
endpoints = ["http://127.0.0.1:{etcd}"]
"""


def main(_argv: Sequence[str]) -> int:
    """Start etcd and the nodes, say what can be typed, and stay until a signal; then end what was started.

    Raises `ConfigError` without an etcd, and `ProcessError` when something does not come up.
    """
    if shutil.which("etcd") is None:
        raise ConfigError("there is no etcd here", "apt-get install etcd-server etcd-client")
    be_interruptible()
    folder = Path(".local_context/fleet").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_start_etcd(folder))
        _wait_for(_FIRST_PORT, folder / "etcd.log", started)
        for number in range(1, _NODES + 1):
            started += _start_node(folder / f"node-{number}", number)
        for number in range(1, _NODES + 1):
            _wait_for(_port(number), folder / f"node-{number}" / "run.log", started)
        print(_next_steps(folder), flush=True)
        while all(process.poll() is None for process in started):
            time.sleep(0.2)
        raise ProcessError("one of them has ended", f"tail {folder}/*.log {folder}/*/*.log")
    except KeyboardInterrupt:
        return 0
    finally:
        _end(started)


def _port(number: int) -> int:
    """Where a node's router listens; its versions do at the next two."""
    return _FIRST_PORT + 10 * number


def _start_etcd(folder: Path) -> subprocess.Popen[bytes]:
    client, peer = (f"http://127.0.0.1:{port}" for port in (_FIRST_PORT, _FIRST_PORT + 1))
    command = [
        *("etcd", "--name=one", f"--data-dir={folder / 'etcd'}", "--logger=zap", f"--initial-cluster=one={peer}"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
    ]
    return _start(command, folder / "etcd.log")


def _start_node(home: Path, number: int) -> list[subprocess.Popen[bytes]]:
    """Its router with blue behind it, and its agent."""
    home.mkdir(exist_ok=True)
    port = _port(number)
    settings = _SETTINGS.format(port=port, blue=port + 1, green=port + 2, number=number, etcd=_FIRST_PORT)
    (home / "traffic_router.toml").write_text(settings, encoding="utf-8")
    return [
        _start([sys.executable, "-m", "app.cli.run", "--all"], home / "run.log", home),
        _start([sys.executable, "-m", "app.cli.blue_green_deploy", "agent"], home / "agent.log", home),
    ]


def _start(command: list[str], log: Path, home: Path | None = None) -> subprocess.Popen[bytes]:
    # In a process group of its own: a terminal sends Ctrl-C to all, and the order of the end is ours.
    environ = os.environ if home is None else {**os.environ, HOME_VARIABLE: str(home)}
    with open(log, "ab") as file:
        return subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file, process_group=0
        )


def _wait_for(port: int, log: Path, started: Sequence[subprocess.Popen[bytes]]) -> None:
    ends = time.monotonic() + _READY_S
    while not is_open(Address("127.0.0.1", port)):
        if time.monotonic() >= ends or any(process.poll() is not None for process in started):
            raise ProcessError(f"nothing listens on port {port}", f"tail {log}")
        time.sleep(0.1)


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """The nodes first, so that each can leave its fleet."""
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
        process.wait()


def _next_steps(folder: Path) -> str:
    homes = [folder / f"node-{number}" for number in range(1, _NODES + 1)]
    lines = [f"   {home.name}: http://127.0.0.1:{_port(number)}" for number, home in enumerate(homes, 1)]
    first = f"{HOME_VARIABLE}={homes[0]} {PROGRAM}"
    steps = [
        f"   {first} fleet status",
        f"   {first} fleet deploy --release=r2",
        f"   {first} fleet rollback",
        f"   etcdctl --endpoints=http://127.0.0.1:{_FIRST_PORT} get --prefix /traffic_router/try/",
    ]
    return "\n".join(["", "✅ Ready:", *lines, "   Try, in a second terminal:", *steps, "   Ctrl-C here ends all.", ""])


if __name__ == "__main__":
    sys.exit(run(main))
