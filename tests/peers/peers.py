"""Other people's programs: where they are installed, and how a server among them is run."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.raw_client import ask
from tests.support.router_process import ROOT, free_port
from tests.support.waiting import wait_until

__all__ = ["PEERS_BIN", "PEERS_PYTHON", "serving"]

PEERS_BIN = ROOT / ".venv-peers" / "bin"
PEERS_PYTHON = PEERS_BIN / "python"


@contextlib.contextmanager
def serving(command: str, folder: Path, target: str = "/") -> Iterator[int]:
    """A server for the length of a `with` block, once it answers 200 for `target`; gives its port.

    `{port}` stands in the command, the words of a shell without quotes. It is run in `folder`; modules are found there
    and in the project.
    """
    port = free_port()
    search = f"{folder}{os.pathsep}{ROOT}"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command.format(port=port).split(),
            cwd=folder,
            env=os.environ | {"PYTHONPATH": search},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: _answers(port, target), f"the first answer of: {command}", 30)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, target: str) -> bool:
    try:
        return ask(port, f"GET {target} HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n".encode()).status == 200
    except OSError:
        return False
