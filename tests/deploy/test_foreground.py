"""A version in the foreground, as the service manager sees it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from app.deploy.processes.foreground import ForegroundProcesses
from app.deploy.processes.launch import Launch


@pytest.mark.parametrize("is_abstract", [False, True])
def test_systemd_is_told_of_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool) -> None:
    address = f"@{tmp_path}" if is_abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    processes = ForegroundProcesses(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(10)
        processes.start("blue", Launch((sys.executable, "-c", ""), tmp_path, {}))
        assert manager.recv(100) == b"READY=1"
    assert processes.wait() == 0


def test_version_starts_where_nobody_is_to_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    processes = ForegroundProcesses(tmp_path)
    processes.start("blue", Launch((sys.executable, "-c", ""), tmp_path, {}))
    assert processes.wait() == 0
