"""Every piece that is timed does what it is named for; how long it takes is nobody's business here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.metrics.shared import SharedMetrics
from bench.layers import pieces


def test_every_piece_does_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.layers.SETTLE_S", 0.0)
    metrics = SharedMetrics.create_or_attach(tmp_path / "router_metrics.mmap", os.cpu_count() or 1)

    done = {name: piece() for name, piece in pieces(tmp_path, metrics).items()}

    assert done["state file looked at"] is not None
    head = done["request head written, one line dropped"]
    assert isinstance(head, bytes)
    assert b"Connection" not in head
    assert b"Cookie" in head
    answer = done["answer head written, one line dropped"]
    assert isinstance(answer, bytes)
    assert answer.endswith(b"X-Request-ID: 0123456789abcdef-1a2b\r\n\r\n")
    assert metrics.snapshot().overall.requests == 1
    metrics.close()
