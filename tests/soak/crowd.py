"""The client processes: started together, ended together, counted while they work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.soak.clients.__main__ import KINDS
from tests.soak.clients.asking import PATIENCE_S
from tests.soak.evidence import sheets
from tests.support.router_process import ROOT

__all__ = ["Crowd"]

END_DEADLINE_S = PATIENCE_S + 30
"""A client that waits in vain is to write down for what."""


class Crowd:
    """One client process of each kind for the length of a `with` block."""

    def __init__(self, port: int, folder: Path, seed: str) -> None:
        self._port = port
        self._seed = seed
        self._processes: list[subprocess.Popen[bytes]] = []
        self._read_to: dict[Path, int] = {}
        self.folder = folder
        self.requests = 0

    def __enter__(self) -> Crowd:
        self.folder.mkdir()
        with (self.folder / "errors.log").open("wb") as errors:
            for kind in KINDS:
                sheet = str(self.folder / f"{kind}.jsonl")
                command = [sys.executable, "-m", "tests.soak.clients", kind, str(self._port), sheet, self._seed]
                self._processes.append(
                    subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=errors, start_new_session=True)
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(END_DEADLINE_S)
            finally:
                process.kill()
                process.wait()

    def check(self) -> None:
        """Raises `RuntimeError` when a client process has ended by itself."""
        if any(process.poll() is not None for process in self._processes):
            raise RuntimeError("a client process has ended: " + (self.folder / "errors.log").read_text())

    def count(self) -> int:
        """Requests so far."""
        for sheet in sheets(self.folder):
            with sheet.open("rb") as file:
                file.seek(self._read_to.get(sheet, 0))
                self.requests += file.read().count(b"\n")
                self._read_to[sheet] = file.tell()
        return self.requests
