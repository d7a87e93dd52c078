"""Client processes that ask without pause while a test does something to the router."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.router_process import ROOT

__all__ = ["Hammering"]


class Hammering:
    """Hammering client processes, as a context manager; their results are there after it.

    `kept` says of each client in turn how many of two requests it sends over one kept connection.
    """

    def __init__(self, port: int, clients: int = 4, kept: tuple[int, ...] = (1,)) -> None:
        self._port = port
        self._clients = clients
        self._kept = kept
        self._processes: list[subprocess.Popen[str]] = []
        self.answers: list[tuple[float, float, str]] = []
        self.failures: list[str] = []

    def __enter__(self) -> Hammering:
        pipe = subprocess.PIPE
        for number in range(self._clients):
            kept = self._kept[number % len(self._kept)]
            command = [sys.executable, "-m", "tests.support.hammer", str(self._port), str(kept)]
            self._processes.append(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))
        return self

    def __exit__(self, *unused: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for process in self._processes:
            output, _ = process.communicate(timeout=20)
            found = json.loads(output)
            self.answers += [(start, end, body) for start, end, body in found["answers"]]
            self.failures += found["failures"]
