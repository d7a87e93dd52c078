"""A real etcd on free ports of the loopback, of one member or several, that can be stopped and started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.support.router_process import free_port
from tests.support.waiting import wait_until

__all__ = ["EtcdMember", "etcd_cluster", "etcd_member"]


class EtcdMember:
    """One member; `flags` are as etcd takes them."""

    def __init__(self, folder: Path, number: int, scheme: str, flags: tuple[str, ...]) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.name = folder / f"m{number}", f"m{number}"
        self.port, self.peer = free_port(), f"http://127.0.0.1:{free_port()}"
        self.endpoint = f"{scheme}://127.0.0.1:{self.port}"
        self._flags = flags
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, members: str) -> None:
        """Begin, or begin again with what it has on its disk."""
        with open(self.folder.with_suffix(".log"), "ab") as log:
            self.process = subprocess.Popen(
                [
                    *("etcd", "--name", self.name, "--data-dir", str(self.folder), "--logger=zap"),
                    *("--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint),
                    *("--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer),
                    *("--initial-cluster", members, "--heartbeat-interval=50", "--election-timeout=500"),
                    *self._flags,
                ],
                stdout=log,
                stderr=log,
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        """Kill it, as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait(10)

    def etcdctl(self, *words: str) -> str:
        """What the command prints; fails the test with what it says when it does not succeed."""
        done = subprocess.run(
            ["etcdctl", f"--endpoints={self.endpoint}", *words],
            env={**os.environ, "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_up(self) -> bool:
        try:
            with urlopen(f"{self.endpoint}/health", timeout=2) as answer:
                health: dict[str, Any] = json.load(answer)
        except (URLError, OSError, ValueError):
            return False
        return health.get("health") == "true"


@contextmanager
def etcd_cluster(folder: Path, count: int = 3) -> Iterator[tuple[list[EtcdMember], str]]:
    """So many members, and how they are told of each other."""
    if shutil.which("etcd") is None or shutil.which("etcdctl") is None:
        pytest.skip("etcd and etcdctl are not here: apt-get install etcd-server etcd-client")
    members = [EtcdMember(folder, number, "http", ()) for number in range(1, count + 1)]
    known = ",".join(f"{it.name}={it.peer}" for it in members)
    with ExitStack() as stack:
        for member in members:
            stack.callback(member.stop)
            member.start(known)
        wait_until(lambda: all(it.is_up() for it in members), "etcd has a leader", 30)
        yield members, known


@contextmanager
def etcd_member(folder: Path, *flags: str, scheme: str = "http") -> Iterator[EtcdMember]:
    """One member alone. With TLS it is ready when it takes connections, as /health wants a certificate then."""
    if shutil.which("etcd") is None or shutil.which("etcdctl") is None:
        pytest.skip("etcd and etcdctl are not here: apt-get install etcd-server etcd-client")
    member = EtcdMember(folder, 1, scheme, flags)
    member.start(f"{member.name}={member.peer}")
    try:
        log = member.folder.with_suffix(".log")
        ready = member.is_up if scheme == "http" else lambda: "serving client traffic securely" in log.read_text()
        wait_until(ready, "etcd is up", 20)
        yield member
    finally:
        member.stop()
